"""Subscriptions and deliveries in the admin, read-only."""

from django.contrib import admin

from delivery.models import Delivery, Subscription
from organizations.read_only_admin import OrganizationFilter, ReadOnlyAdmin


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin):
    list_display = ("name", "kind", "organization", "created_at")
    list_filter = (OrganizationFilter,)
    list_select_related = ("organization",)


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ("id", "status", "event_id", "subscription", "organization", "created_at", "delivered_at")
    list_filter = (OrganizationFilter,)
    list_select_related = ("organization", "subscription")
