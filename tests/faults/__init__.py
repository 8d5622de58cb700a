"""What becomes of the platform when a part of it stops, hangs, is cut off or is replaced: one row a fault.

| module | what it is |
|---|---|
| `scenarios.py` | the table: every fault, its length, what it runs on |
| `test_faults.py` | how a row runs: load, fault, drain, judgement |
| `sites.py` | what a row runs on: servers, `manage.py up`, a receiver of webhooks |
| `parts/` | the parts of a site, each with the ways in which it fails |
| `load.py` | the driver: sends, and knows what was acknowledged |
| `health.py` | asks `/health/*` all the while |
| `proof.py` | what must hold afterwards |
| `page.py` | writes docs/operations/faults.md |

`make faults` runs it all, `make faults ONLY=redis-hangs-25s` one row.
"""
