"""The account's pages. allauth looks its own up by these names, which are therefore in no namespace."""

from allauth.account.views import reauthenticate
from allauth.mfa.base import views as second_factor
from allauth.mfa.recovery_codes import views as recovery_codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as passkeys
from django.contrib.auth.views import PasswordResetCompleteView, PasswordResetDoneView
from django.urls import path
from django.views.generic import RedirectView

from accounts import views
from accounts.notice_choices.views import end_notices, notices

_SENT = PasswordResetDoneView.as_view(template_name="account/password_reset_sent.html")
_DONE = PasswordResetCompleteView.as_view(template_name="account/password_reset_done.html")

urlpatterns = [
    path("", views.overview, name="account_overview"),
    path("sign-in/", RedirectView.as_view(pattern_name="console:sign-in"), name="account_login"),
    path("confirm/", reauthenticate, name="account_reauthenticate"),
    path("password/", views.PasswordChangeView.as_view(), name="account_change_password"),
    path("password/reset/", views.PasswordResetView.as_view(), name="account_reset_password"),
    path("password/reset/sent/", _SENT, name="account_reset_password_sent"),
    path("password/reset/done/", _DONE, name="account_reset_password_done"),
    path(
        "password/reset/<uidb64>/<token>/",
        views.PasswordResetConfirmView.as_view(),
        name="account_reset_password_confirm",
    ),
    path("notices/", notices, name="account_notices"),
    path("notices/end/<str:token>/", end_notices, name="account_end_notices"),
    path("sessions/", views.sessions, name="account_sessions"),
    path("sessions/end-others/", views.end_other_sessions, name="account_end_other_sessions"),
    path("sessions/<int:session_id>/end/", views.end_session, name="account_end_session"),
    path("second-factor/", second_factor.index, name="mfa_index"),
    path("second-factor/confirm/", second_factor.reauthenticate, name="mfa_reauthenticate"),
    path("second-factor/app/", views.AddAppView.as_view(), name="mfa_activate_totp"),
    path("second-factor/app/remove/", totp.deactivate_totp, name="mfa_deactivate_totp"),
    path("second-factor/passkeys/", passkeys.list_webauthn, name="mfa_list_webauthn"),
    path("second-factor/passkeys/add/", views.AddPasskeyView.as_view(), name="mfa_add_webauthn"),
    path("second-factor/passkeys/confirm/", passkeys.reauthenticate_webauthn, name="mfa_reauthenticate_webauthn"),
    path("second-factor/passkeys/<int:pk>/", passkeys.edit_webauthn, name="mfa_edit_webauthn"),
    path("second-factor/passkeys/<int:pk>/remove/", views.RemovePasskeyView.as_view(), name="mfa_remove_webauthn"),
    path("second-factor/codes/", recovery_codes.view_recovery_codes, name="mfa_view_recovery_codes"),
    path("second-factor/codes/renew/", recovery_codes.generate_recovery_codes, name="mfa_generate_recovery_codes"),
    path("second-factor/codes/file/", recovery_codes.download_recovery_codes, name="mfa_download_recovery_codes"),
]
