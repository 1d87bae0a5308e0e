"""How many questions a shard of asking has: enough to fill an engine, few enough that a lost shard is no loss."""

ANSWERED_PER_SHARD = 96  # one answer each: the embedded engine decodes 48 together, and more wait for a free row
SAMPLED_PER_SHARD = 24  # several answers each
# Only calls of one shard fly together, and at its end they run out: a shard is long against what flies at once.
ENDPOINT_SAMPLED_PER_SHARD = 240
