// What openapi-typescript made of the document, in `schema`: sent with, listed, leased and acknowledged.
import { once } from "node:events";

import createClient from "openapi-fetch";

import type { paths } from "./schema.js";

const [baseUrl = "", key] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${key}` } });
const shown = (value: boolean): string => (value ? "True" : "False");

const inbox = await client.POST("/api/v1/subscriptions", { body: { kind: "inbox", name: "ledger" } });
console.log(inbox.data?.status);
const { data: sent } = await client.POST("/api/v1/events", { body: { type: "invoice.paid", data: { amount: 12900 } } });
if (!sent) throw new Error("refused");
const refused = await client.POST("/api/v1/events", { body: { type: "not a type", data: null } });
console.log(refused.error?.errors?.[0]?.pointer);
const { data: page } = await client.GET("/api/v1/events", { params: { query: { type: "invoice.*" } } });
console.log(shown(page?.data[0]?.id === sent.id), shown(page?.next_cursor === null));
console.log("processed, please");
await once(process.stdin, "data");
process.stdin.pause();
const query = { inbox: "ledger" };
const { data: lease } = await client.POST("/api/v1/inbox/lease", { params: { query }, body: { max: 10 } });
const leased = lease?.events[0];
console.log(shown(leased?.id === sent.id), (leased?.data as { amount: number }).amount);
const { data: acked } = await client.POST("/api/v1/inbox/ack", { params: { query }, body: { event_ids: [sent.id] } });
console.log(acked?.acknowledged.length);
const { data: event } = await client.GET("/api/v1/events/{event_id}", { params: { path: { event_id: sent.id } } });
console.log(event?.deliveries.length);
