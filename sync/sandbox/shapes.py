"""The request bodies of the Inbox, Contacts V4 and media calls, with their documented limits.

Source: the public documentation and the type definitions of the official SDK (`@wix/inbox`,
`@wix/crm`). Read-only fields (`id`, `sequence`, `sender`, `appId`) are left out, so that they are
dropped when a client sends them.
"""

from __future__ import annotations

from sync.sandbox.schema import Anything, Choice, Flag, Guid, Items, Rule, Shape, Text, WebUrl, Whole

LONG_TEXT = 16_384
CHANNELS = frozenset({"CHAT", "EMAIL", "SMS", "FACEBOOK", "INSTAGRAM", "WHATSAPP"})
CHANNELS_OR_UNKNOWN = CHANNELS | {"UNKNOWN_CHANNEL_TYPE"}
VISIBILITIES = frozenset({"BUSINESS", "BUSINESS_AND_PARTICIPANT"})
DIRECTIONS = frozenset({"BUSINESS_TO_PARTICIPANT", "PARTICIPANT_TO_BUSINESS"})
CONTENT_TYPES = ("basic", "minimal", "template", "form")

_IMAGE = Shape(
    {
        "id": Text(2000),
        "url": WebUrl(),
        "filename": Text(255),
        "width": Whole(),
        "height": Whole(),
    },
    any_of=("id", "url"),
)
_FILE = Shape({"id": Text(2000), "url": WebUrl(), "filename": Text(255), "mimeType": Text(100)}, any_of=("id", "url"))
_BUTTON = Shape(
    {
        "label": Text(LONG_TEXT, least=1),
        "launchUrl": WebUrl(LONG_TEXT),
        "postbackProperties": Shape({"interactionId": Text(256, least=1)}, needs=("interactionId",)),
    },
    needs=("label",),
    one_of=("launchUrl", "postbackProperties"),
)
_MEDIA: dict[str, Rule] = {"image": _IMAGE, "file": _FILE}
_CONTENT = Shape(
    {
        "previewText": Text(256),
        "title": Text(LONG_TEXT),
        "basic": Shape(
            {
                "items": Items(
                    Shape({"text": Text(LONG_TEXT, least=1), **_MEDIA}, one_of=("text", "image", "file")),
                    most=1000,
                    least=1,
                )
            },
            needs=("items",),
        ),
        "minimal": Shape({"text": Text(LONG_TEXT, least=1), "iconUrl": WebUrl(), "url": WebUrl()}, needs=("text",)),
        "template": Shape(
            {
                "title": Text(LONG_TEXT),
                "imageUrl": WebUrl(),
                "textLines": Items(Text(512), most=10),
                "buttons": Items(_BUTTON, most=10),
                "orientation": Choice(frozenset({"PORTRAIT", "LANDSCAPE"})),
            }
        ),
        "form": Shape(
            {
                "title": Text(256, least=1),
                "description": Text(LONG_TEXT, least=1),
                "fields": Items(Shape({"name": Text(8192), "value": Text(8192)}), most=15, least=1),
                "media": Items(Shape(_MEDIA, one_of=("image", "file")), most=15),
            },
            needs=("fields",),
        ),
    },
    one_of=CONTENT_TYPES,
)
_BADGE = Shape(
    {"text": Text(LONG_TEXT), "iconUrl": WebUrl(), "badgeVisibility": Choice(VISIBILITIES)},
)

SEND = Shape(
    {
        "conversationId": Guid(),
        "message": Shape(
            {
                "content": _CONTENT,
                "direction": Choice(DIRECTIONS),
                "visibility": Choice(VISIBILITIES),
                "badges": Items(_BADGE, most=1),
                "silent": Flag(),
                "createdDate": Text(64),
                "targetChannels": Items(Choice(CHANNELS_OR_UNKNOWN), most=100),
                "targetChannelIds": Items(Text(100), most=100),
                "sourceChannel": Choice(CHANNELS_OR_UNKNOWN),
                "sourceChannelId": Text(100),
            },
            needs=("content", "direction", "visibility"),
        ),
        "sendNotifications": Flag(),
        "sendAs": Choice(frozenset({"CALLER", "PARTICIPANT", "BUSINESS_USER"})),
        "silent": Flag(),
    },
    needs=("conversationId", "message"),
)

LIST = Shape(
    {
        "conversationId": Guid(),
        "visibility": Choice(VISIBILITIES),
        "paging": Shape({"limit": Whole(1, 100), "cursor": Text(LONG_TEXT)}),
        "sorting": Shape({"order": Choice(frozenset({"ASC", "DESC"})), "fieldName": Text(100)}),
    },
    needs=("conversationId", "visibility"),
)

PARTICIPANTS = ("contactId", "anonymousVisitorId", "memberId")
GET_OR_CREATE = Shape(
    {"participantId": Shape(dict.fromkeys(PARTICIPANTS, Guid()), one_of=PARTICIPANTS)},
    needs=("participantId",),
)

_TAGS = frozenset({"UNTAGGED", "MAIN", "HOME", "WORK"})
_NAME = Text(1000)
CONTACT_INFO = Shape(
    {
        "name": Shape({"first": _NAME, "last": _NAME}),
        "emails": Shape(
            {
                "items": Items(
                    Shape(
                        {"tag": Choice(_TAGS), "email": Text(320, least=1), "primary": Flag()},
                        needs=("email",),
                    ),
                    most=50,
                )
            }
        ),
        "phones": Shape(
            {
                "items": Items(
                    Shape(
                        {
                            "tag": Choice(_TAGS | {"MOBILE", "FAX"}),
                            "phone": Text(50, least=1),
                            "countryCode": Text(2),
                            "primary": Flag(),
                        },
                        needs=("phone",),
                    ),
                    most=50,
                )
            }
        ),
        "addresses": Anything(),
        "company": Text(1000),
        "jobTitle": Text(1000),
        "birthdate": Text(10),
        "locale": Text(35),
        "labelKeys": Shape({"items": Items(Text(1000), most=1000)}),
        "extendedFields": Shape({"items": Anything()}),
        "picture": Anything(),
    }
)
CREATE_CONTACT = Shape({"info": CONTACT_INFO, "allowDuplicates": Flag()}, needs=("info",))
UPDATE_CONTACT = Shape(
    {"info": CONTACT_INFO, "revision": Whole(), "allowDuplicates": Flag()}, needs=("info", "revision")
)
MERGE_CONTACTS = Shape(
    {"sourceContactIds": Items(Guid(), most=5, least=1), "targetContactRevision": Whole(), "preview": Flag()},
    needs=("sourceContactIds",),
)
QUERY_CONTACTS = Shape(
    {
        "query": Shape(
            {
                "filter": Anything(),
                "paging": Shape({"limit": Whole(0, 1000), "offset": Whole()}),
                "sort": Items(Shape({"fieldName": Text(200), "order": Choice(frozenset({"ASC", "DESC"}))}), most=10),
                "fields": Items(Text(200), most=100),
                "fieldsets": Items(Text(200), most=10),
            }
        )
    }
)

UPLOAD_URL = Shape(
    {"mimeType": Text(100, least=1), "fileName": Text(200), "sizeInBytes": Anything()}, needs=("mimeType",)
)
IMPORT_FILE = Shape({"url": WebUrl(), "mimeType": Text(100), "displayName": Text(255)}, needs=("url",))
DOWNLOAD_URL = Shape({"fileId": Text(2000, least=1)}, needs=("fileId",))
TOKEN = Shape(
    {
        "grant_type": Text(100),
        "client_id": Text(200),
        "client_secret": Text(2000),
        "instance_id": Text(2000),
    },
    needs=("grant_type",),
)
