"""What is behind the pages."""

import os

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt

from entries.models import Entry


def healthz(_request: HttpRequest) -> HttpResponse:
    """Well, if the database is."""
    return HttpResponse(f"{Entry.objects.count()} entries")


@csrf_exempt
def entries(request: HttpRequest) -> HttpResponse:
    """All of them, and a new one."""
    if request.method == "POST":
        Entry.objects.create(text=request.body.decode())
    about = {"title": os.environ["TITLE"], "release": os.environ["PLAINSTACK_RELEASE"], "key": settings.SECRET_KEY, "url": request.build_absolute_uri()}
    return render(request, "entries.html", {**about, "entries": Entry.objects.all(), "address": request.META["REMOTE_ADDR"]})
