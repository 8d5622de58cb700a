import { Events } from "./events.js";
import { Inbox } from "./inbox.js";
import { Transport, type ClientOptions, type RequestOptions } from "./transport.js";

/** A client of one platform, with one key. */
export class Client {
  readonly events: Events;
  readonly #transport: Transport;

  /** Without `baseUrl` and `apiKey`, EVP_URL and EVP_API_KEY of the environment. */
  constructor(options: ClientOptions = {}) {
    this.#transport = new Transport(options);
    this.events = new Events(this.#transport);
  }

  inbox(name = "default"): Inbox {
    return new Inbox(this.#transport, name);
  }

  /** Anything else of the API: `client.request("GET", "/api/v1/subscriptions")`. */
  request<T = unknown>(method: string, path: string, options?: RequestOptions): Promise<T> {
    return this.#transport.request(method, path, options);
  }
}
