import { Events } from "./events.js";
import { Inbox } from "./inbox.js";
import type { components, operations } from "./schema.js";
import { Transport, type ClientOptions, type RequestOptions } from "./transport.js";

type Schemas = components["schemas"];
export type Job = operations["get_job"]["responses"][200]["content"]["application/json"];
export type NewPortalLink = Schemas["NewPortalLink"];
export type PortalLink = Schemas["PortalLinkCreated"];

/** A client of one platform, with one key. */
export class Client {
  readonly events: Events;
  readonly #transport: Transport;

  /** Without `baseUrl` and `apiKey`, EVP_URL and EVP_API_KEY of the environment. */
  constructor(options: ClientOptions = {}) {
    this.#transport = new Transport(options);
    this.events = new Events(this.#transport);
  }

  /** What goes on in the background. */
  readonly jobs = {
    get: (id: string): Promise<Job> => this.request("GET", `/api/v1/jobs/${encodeURIComponent(id)}`),
    /** Stops it; what it has done stays. */
    cancel: (id: string): Promise<Job> => this.request("POST", `/api/v1/jobs/${encodeURIComponent(id)}/cancel`),
  };

  /** Pages on which your own customers see, and manage, their subscriptions. */
  readonly portalLinks = {
    /** A link that is good once. */
    create: (link: NewPortalLink): Promise<PortalLink> => this.request("POST", "/api/v1/portal-links", { body: link }),
  };

  inbox(name = "default"): Inbox {
    return new Inbox(this.#transport, name);
  }

  /** Anything else of the API: `client.request("GET", "/api/v1/subscriptions")`. */
  request<T = unknown>(method: string, path: string, options?: RequestOptions): Promise<T> {
    return this.#transport.request(method, path, options);
  }
}
