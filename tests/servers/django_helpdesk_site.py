"""Runs inside django-helpdesk's own environment, never in the project's: works on a site through Django's own models.

One JSON command a line on stdin, one JSON answer a line on stdout. Started by django_helpdesk.py.
"""

import base64
import json
import logging
import sys

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from django.core.files.uploadedfile import SimpleUploadedFile  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import transaction  # noqa: E402
from django.http import QueryDict  # noqa: E402
from django.utils.dateparse import parse_datetime  # noqa: E402
from helpdesk.email import extract_email_metadata  # noqa: E402
from helpdesk.lib import process_attachments  # noqa: E402
from helpdesk.models import FollowUp, Queue, Ticket  # noqa: E402
from helpdesk.views.staff import redirect_from_chosen_ticket  # noqa: E402
from rest_framework.authtoken.models import Token  # noqa: E402

User = get_user_model()
log = logging.getLogger("site")


def setup(password):
    call_command("migrate", verbosity=0)
    agent = User.objects.create_superuser("agent", "agent@helpdesk.example", password)
    queue("support")
    return Token.objects.create(user=agent).key


def user(name, email, staff):
    made = User.objects.create_user(name, email, is_staff=staff)
    return {"id": made.id, "token": Token.objects.create(user=made).key}


def queue(slug):
    made = Queue.objects.create(title=slug, slug=slug, allow_email_submission=True)
    return made.id


def mail_in(raw, queue):
    """A mail arrives at the queue, as `get_email` hands it on."""
    before = set(FollowUp.objects.values_list("id", flat=True).order_by("-id")[:1])
    message = base64.b64decode(raw).decode("utf-8", "surrogateescape")
    extract_email_metadata(message, Queue.objects.get(slug=queue), log)
    newest = FollowUp.objects.order_by("-id").first()
    return None if newest is None or newest.id in before else {"followup": newest.id, "ticket": newest.ticket_id}


def write(ticket, user, title, comment, public, at, message_id, files):
    """A follow-up as the site's pages make it; `user` None: nobody was signed in, or the site itself."""
    made = FollowUp(
        ticket=Ticket.objects.get(id=ticket),
        user=User.objects.get(username=user) if user else None,
        title=title,
        comment=comment,
        public=public,
        message_id=message_id,
        email_recipients=[],
    )
    if at:
        made.date = parse_datetime(at)
    made.save()
    uploads = [SimpleUploadedFile(one["name"], base64.b64decode(one["content"]), one["type"]) for one in files]
    if uploads:
        process_attachments(made, uploads)
    return made.id


def open_ticket(queue, title, description, email):
    """A ticket without a follow-up: `write` adds its first one."""
    made = Ticket.objects.create(
        queue=Queue.objects.get(slug=queue), title=title, description=description, submitter_email=email
    )
    return made.id


def merge(tickets, into):
    """As the page does: the follow-ups move, and their titles are replaced."""

    class Request:
        POST = QueryDict()

    chosen = Ticket.objects.get(id=into)
    redirect_from_chosen_ticket(Request(), chosen, Ticket.objects.filter(id__in=[*tickets, into]), [])


def set_date(followup, at):
    FollowUp.objects.filter(id=followup).update(date=parse_datetime(at))


def edit(followup, comment):
    FollowUp.objects.filter(id=followup).update(comment=comment)


def delete(followup):
    FollowUp.objects.filter(id=followup).delete()


def delete_ticket(ticket):
    Ticket.objects.filter(id=ticket).delete()


def state():
    return [list(row) for row in FollowUp.objects.order_by("id").values_list("id", "comment", "ticket__status")]


def clear():
    Ticket.objects.all().delete()


COMMANDS = {
    one.__name__: one
    for one in (
        setup, user, queue, mail_in, write, open_ticket, merge, set_date, edit, delete, delete_ticket, state, clear,
    )
}  # fmt: skip


def main():
    assert settings.configured
    for line in sys.stdin:
        try:
            asked = json.loads(line)
            if asked and asked[0]["do"] == "setup":
                answers = [setup(asked[0]["password"])]
            else:
                with transaction.atomic():
                    answers = [COMMANDS[one.pop("do")](**one) for one in asked]
            answer = {"answers": answers}
        except Exception as error:  # noqa: BLE001  the test shows it
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


main()
