from django.urls import path

from delivery.views import AckView, InboxView

urlpatterns = [
    path("inbox", InboxView.as_view(), name="api-inbox"),
    path("inbox/ack", AckView.as_view(), name="api-inbox-ack"),
]
