"""Ways to services of others: one file each, loaded when it is configured. None of them holds a rule of a product.

| module | what |
|---|---|
| `destinations` | a POST to an address that somebody named: public, over https, checked after its name was resolved |
| `webhook`, `webhook_endpoints` | Standard Webhooks: signatures, one attempt, the schedule; endpoints with their secrets |
| `courier` | takes a channel's notifications from the outbox and says how it went |
| `webhook_channel`, `slack_channel`, `smtp`, `messaging_channel` | the channels of oversight |
| `inbound` | what a callback is (raw headers and body) and what it gets back |
| `slack_inbound` | `SlackInbound.interactions`, `.commands` and `.events`: `async (headers, body) -> inbound.Answer` |
| `channels` | all channels that the configuration names, in one object |

Callbacks are mounted as they are, with the bytes as they came: `/v1/connectors/slack/interactions`, `/v1/connectors/slack/commands` and
`/v1/connectors/slack/events`, each `POST` to the method of that name.
"""
