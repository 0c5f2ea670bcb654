// Client code as anybody would write it: it knows the official SDK and credentials, not the sandbox.
// Prints one JSON object: the outcome of each step by its name.
import { contacts } from "@wix/crm";
import { conversations, messages } from "@wix/inbox";
import { ApiKeyStrategy, AppStrategy, createClient } from "@wix/sdk";

const env = process.env;
const auth =
  env.WIX_AUTH === "app"
    ? AppStrategy({ appId: env.WIX_APP_ID, appSecret: env.WIX_APP_SECRET, instanceId: env.WIX_INSTANCE_ID })
    : ApiKeyStrategy({ apiKey: env.WIX_API_KEY, siteId: env.WIX_SITE_ID });
const wix = createClient({ auth, modules: { contacts, conversations, messages } });

const outcome = {};
async function step(name, work) {
  try {
    outcome[name] = { value: await work() };
  } catch (error) {
    outcome[name] = { error: { message: error.message, details: error.details ?? null } };
  }
  return outcome[name].value;
}

const email = env.CLIENT_EMAIL;
const byEmail = () =>
  wix.contacts
    .queryContacts()
    .eq("info.emails.email", email)
    .limit(10)
    .find()
    .then((page) => page.items);
const info = {
  name: { first: "Jo", last: "Doe" },
  emails: { items: [{ tag: "MAIN", email, primary: true }] },
};
const text = (body, more = {}) => ({
  direction: "PARTICIPANT_TO_BUSINESS",
  visibility: "BUSINESS",
  silent: false,
  badges: [{ text: "Support mailbox" }],
  content: { previewText: body.slice(0, 100), basic: { items: [{ text: body }] } },
  ...more,
});

await step("query_none", byEmail);
const created = await step("create", () => wix.contacts.createContact(info, { allowDuplicates: false }));
const contact = created?.contact ?? created;
await step("create_again", () => wix.contacts.createContact(info, { allowDuplicates: false }));
await step("query_one", byEmail);
await step("get_contact", () => wix.contacts.getContact(contact._id));
await step("get_contact_unknown", () => wix.contacts.getContact("00000000-0000-4000-8000-000000000000"));

const opened = await step("open", () => wix.conversations.getOrCreateConversation({ contactId: contact._id }));
await step("open_again", () => wix.conversations.getOrCreateConversation({ contactId: contact._id }));
const id = opened.conversation._id;
await step("get_conversation", () => wix.conversations.getConversation(id));
await step("get_conversation_unknown", () =>
  wix.conversations.getConversation("00000000-0000-4000-8000-000000000000"),
);

await step("send", () =>
  wix.messages.sendMessage(id, text("Hello"), { sendNotifications: false, sendAs: "PARTICIPANT" }),
);
await step("send_reply", () =>
  wix.messages.sendMessage(id, text("Good day, how can we help?", { direction: "BUSINESS_TO_PARTICIPANT" })),
);
await step("send_activity", () =>
  wix.messages.sendMessage(
    id,
    text("", { content: { minimal: { text: "Ticket 7 closed", url: "https://desk.example/7" } } }),
  ),
);
await step("send_empty", () => wix.messages.sendMessage(id, text("", { content: { basic: { items: [] } } })));
await step("list", () => wix.messages.listMessages(id, "BUSINESS", { paging: { limit: 2 } }));
const next = outcome.list.value?.pagingMetadata?.cursors?.next;
await step("list_next", () => wix.messages.listMessages(id, "BUSINESS", { paging: { limit: 2, cursor: next } }));
await step("list_oldest_first", () => wix.messages.listMessages(id, "BUSINESS", { sorting: { order: "ASC" } }));
await step("list_both_sides", () => wix.messages.listMessages(id, "BUSINESS_AND_PARTICIPANT"));

await step("update", () =>
  wix.contacts.updateContact(contact._id, { name: { first: "Joanna" } }, contact.revision),
);
await step("delete", () => wix.contacts.deleteContact(contact._id));

console.log(JSON.stringify(outcome));
