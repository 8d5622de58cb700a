"""The views of the console, a module per group of pages. Each page of an organization is an `@organization_page`."""
