"""Pages."""

from django.contrib import admin
from django.urls import path
from entries.views import entries, healthz

urlpatterns = [path("", entries), path("healthz", healthz), path("admin/", admin.site.urls)]
