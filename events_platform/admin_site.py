"""The admin site of the platform: Django's own, under the platform's name and look."""

from django.contrib import admin


class AdminSite(admin.AdminSite):
    site_header = "Events Platform"
    site_title = "Events Platform"
    index_title = "Administration"
    site_url = "/console/"
    empty_value_display = "–"
