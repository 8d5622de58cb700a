"""The URLs of the pages by which members help themselves, below an organization's."""

from django.urls import path

from console.audit import views as audit
from console.charts import views as charts
from console.deliveries import attempts
from console.deliveries import views as deliveries
from console.event_types import views as event_types
from console.exports import views as exports
from console.invitation import views as invitation
from console.issues import views as issues
from console.jobs import views as jobs
from console.keys import views as keys
from console.members import views as members
from console.notices import views as notices
from console.replays import views as replays
from console.subscriptions import views as subscriptions
from console.subscriptions import webhook_views as webhooks
from console.usage import views as usage

of_organization = [
    path("keys/", keys.keys, name="keys"),
    path("keys/issue", keys.issue, name="issue-key"),
    path("keys/<uuid:key_id>/rotate", keys.rotate, name="rotate-key"),
    path("keys/<uuid:key_id>/revoke", keys.revoke, name="revoke-key"),
    path("subscriptions/", subscriptions.subscriptions, name="subscriptions"),
    path("subscriptions/new", subscriptions.create, name="create-subscription"),
    path("subscriptions/<uuid:subscription_id>/", subscriptions.subscription, name="subscription"),
    path("subscriptions/<uuid:subscription_id>/charts/", charts.charts, name="charts"),
    path("subscriptions/<uuid:subscription_id>/edit", subscriptions.edit, name="edit-subscription"),
    path("subscriptions/<uuid:subscription_id>/delete", subscriptions.delete, name="delete-subscription"),
    path("subscriptions/<uuid:subscription_id>/pause", subscriptions.pause, name="pause-subscription"),
    path("subscriptions/<uuid:subscription_id>/try", subscriptions.try_now, name="try-endpoint"),
    path("subscriptions/<uuid:subscription_id>/resume", subscriptions.resume, name="resume-subscription"),
    path("subscriptions/<uuid:subscription_id>/secret/rotate", webhooks.rotate, name="rotate-secret"),
    path("subscriptions/<uuid:subscription_id>/secret/show", webhooks.reveal, name="reveal-secret"),
    path("subscriptions/<uuid:subscription_id>/test", webhooks.try_out, name="test-webhook"),
    path("subscriptions/<uuid:subscription_id>/deliveries/", deliveries.deliveries, name="deliveries"),
    path("subscriptions/<uuid:subscription_id>/deliveries/<uuid:delivery_id>/", deliveries.delivery, name="delivery"),
    path(
        "subscriptions/<uuid:subscription_id>/deliveries/<uuid:delivery_id>/retry",
        deliveries.retry,
        name="retry-delivery",
    ),
    path(
        "subscriptions/<uuid:subscription_id>/deliveries/<uuid:delivery_id>/attempts/<int:number>/",
        attempts.attempt,
        name="attempt",
    ),
    path(
        "subscriptions/<uuid:subscription_id>/deliveries/<uuid:delivery_id>/body", attempts.body, name="delivery-body"
    ),
    path("subscriptions/<uuid:subscription_id>/dead-letters/", deliveries.dead_letters, name="dead-letters"),
    path(
        "subscriptions/<uuid:subscription_id>/deliveries/<uuid:delivery_id>/skip",
        deliveries.skip,
        name="skip-delivery",
    ),
    path("subscriptions/<uuid:subscription_id>/dead-letters/retry", deliveries.retry_selected, name="retry-selected"),
    path("subscriptions/<uuid:subscription_id>/dead-letters/retry-all", deliveries.retry_all, name="retry-all"),
    path("subscriptions/<uuid:subscription_id>/replay", replays.create, name="create-replay"),
    path("issues/", issues.issues, name="issues"),
    path("issues/<uuid:issue_id>/", issues.annotate, name="annotate-issue"),
    path("event-types/", event_types.event_types, name="event-types"),
    path("event-types/new", event_types.create, name="create-event-type"),
    path("event-types/<int:type_id>/", event_types.event_type, name="event-type"),
    path("event-types/<int:type_id>/edit", event_types.edit, name="edit-event-type"),
    path("event-types/<int:type_id>/delete", event_types.delete, name="delete-event-type"),
    path("exports/", exports.exports, name="exports"),
    path("exports/new", exports.create, name="create-export"),
    path("exports/<uuid:export_id>/", exports.export, name="export"),
    path("exports/<uuid:export_id>/cancel", exports.cancel, name="cancel-export"),
    path("exports/<uuid:export_id>/download", exports.download, name="download-export"),
    path("members/", members.members, name="members"),
    path("members/invite", members.invite, name="invite"),
    path("members/<int:membership_id>/role", members.change, name="change-role"),
    path("members/<int:membership_id>/remove", members.remove, name="remove-member"),
    path("invitations/<uuid:invitation_id>/withdraw", members.withdraw, name="withdraw-invitation"),
    path("notices/", notices.notices, name="notices"),
    path("usage/", usage.usage, name="usage"),
    path("audit/", audit.audit, name="audit"),
    path("audit/export", audit.export, name="export-audit"),
    path("replays/", replays.replays, name="replays"),
    path("replays/<uuid:replay_id>/", replays.progress, name="replay-progress"),
    path("replays/<uuid:replay_id>/cancel", replays.cancel, name="cancel-replay"),
    path("jobs/<uuid:job_id>/", jobs.job, name="job"),
    path("jobs/<uuid:job_id>/cancel", jobs.cancel, name="cancel-job"),
]

of_nobody = [path("invitations/<str:token>/", invitation.invitation, name="invitation")]
