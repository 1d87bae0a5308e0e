"""The forward pass of Llama-shaped models on the CPU, over packed tokens.

What makes it quick against the stock one: weights in the layout oneDNN multiplies fastest, query, key and value (and
gate and up) as one multiplication, no padding outside attention, keys never repeated for grouped heads, one read of a
shared prefix, and vocabulary scores for the last token of a row only.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, linear, rms_norm, silu

from services.serving.embedded.forward_plan import AttentionPart, ForwardPlan, KVCache, PrefixAttention
from shared.processes.cpu import favours_bfloat16

SUPPORTED_TYPES = ("llama", "qwen2", "qwen3")
PACKED_BATCH = 16  # rows that oneDNN's layout is chosen for


class PackedLinear:
    """`x @ weight.T + bias` with the weights of one or more layers side by side, packed once for oneDNN.

    With 16 rows, packed float32 ran at 100 GFLOP/s on a Xeon with AVX512-BF16 and no AMX, packed bfloat16 at 70, and
    unpacked float32 at 26 to 50 (two threads). Bfloat16 took 0.4 of float32's time with one row, as much with 16, and
    1.4 times as much with 48.
    """

    def __init__(self, *layers: Any, dtype: torch.dtype) -> None:
        weight = torch.cat([layer.weight.detach() for layer in layers]).to(dtype)
        biases = [layer.bias.detach() for layer in layers if getattr(layer, "bias", None) is not None]
        self._bias = torch.cat(biases).to(dtype) if len(biases) == len(layers) else None
        self._packed = can_pack()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_BATCH) if self._packed else weight

    def __call__(self, x: Tensor) -> Tensor:
        if not self._packed:
            return linear(x, self._weight, self._bias)
        # weights in oneDNN's layout need this private operator; torch is pinned for it (docs/decisions/0004)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return out


def can_pack() -> bool:
    available: Any = torch.backends.mkldnn.is_available
    return bool(available())


def pick_dtype(name: str) -> torch.dtype:
    """`auto` is bfloat16 if the processor is faster in it, else float32; it is the same at every start."""
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    return torch.bfloat16 if can_pack() and favours_bfloat16() else torch.float32


@dataclass(frozen=True)
class DecoderLayer:
    """The weights of one decoder layer; `q_norm` and `k_norm` only in families that have them."""

    qkv: PackedLinear
    out: PackedLinear
    gate_up: PackedLinear
    down: PackedLinear
    before_attention: Tensor
    before_mlp: Tensor
    q_norm: Tensor | None
    k_norm: Tensor | None


class Llama:
    """Copies the weights of a loaded Hugging Face model, which you may drop afterwards."""

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        config = model.config
        self.dtype = dtype
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_dim: int = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.max_positions: int = config.max_position_embeddings
        self._eps: float = config.rms_norm_eps
        self._tied = model.lm_head.weight is model.model.embed_tokens.weight
        self._embedding = model.model.embed_tokens.weight.detach().to(dtype).clone()
        self._layers = [self._layer(layer) for layer in model.model.layers]
        self._norm = model.model.norm.weight.detach().to(dtype).clone()
        self._vocabulary = PackedLinear(model.lm_head, dtype=dtype)
        self._cos, self._sin = self._rotation(model.model.rotary_emb)

    def share_vocabulary(self, other: "Llama") -> None:
        """Shares the other's embeddings if they are equal: a third of a small model, and few adapters change them."""
        if self._tied and other._tied and self.dtype is other.dtype and torch.equal(self._embedding, other._embedding):
            self._embedding, self._vocabulary = other._embedding, other._vocabulary

    @property
    def group(self) -> int:
        return self.heads // self.kv_heads

    def new_kv_cache(self) -> KVCache:
        return KVCache(len(self._layers), self.kv_heads, self.head_dim, self.dtype)

    def _layer(self, layer: Any) -> DecoderLayer:
        attention, mlp = layer.self_attn, layer.mlp
        q_norm, k_norm = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
        return DecoderLayer(
            qkv=PackedLinear(attention.q_proj, attention.k_proj, attention.v_proj, dtype=self.dtype),
            out=PackedLinear(attention.o_proj, dtype=self.dtype),
            gate_up=PackedLinear(mlp.gate_proj, mlp.up_proj, dtype=self.dtype),
            down=PackedLinear(mlp.down_proj, dtype=self.dtype),
            before_attention=layer.input_layernorm.weight.detach().to(self.dtype).clone(),
            before_mlp=layer.post_attention_layernorm.weight.detach().to(self.dtype).clone(),
            q_norm=None if q_norm is None else q_norm.weight.detach().to(self.dtype).clone(),
            k_norm=None if k_norm is None else k_norm.weight.detach().to(self.dtype).clone(),
        )

    def _rotation(self, rotary: Any) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines of every position, [positions, 1, head size]."""
        cos, sin = rotary(torch.zeros(1), torch.arange(self.max_positions)[None])
        signed = sin[0].clone()
        # the sign of `rotate_half`, so that rotating needs only a roll
        signed[:, : self.head_dim // 2] *= -1
        return cos[0].to(self.dtype)[:, None], signed.to(self.dtype)[:, None]

    @torch.inference_mode()
    def forward(self, plan: ForwardPlan, *, scores: bool = True) -> Tensor | None:
        """Writes keys and values; with `scores`, returns [rows, vocabulary] for the last token of each row."""
        x = embedding(plan.tokens, self._embedding)
        cos, sin = self._cos[plan.positions], self._sin[plan.positions]
        width = (x.shape[1],)
        for index, layer in enumerate(self._layers):
            qkv = layer.qkv(rms_norm(x, width, layer.before_attention, self._eps))
            x = x + layer.out(self._attention(index, layer, qkv, cos, sin, plan))
            gate, up = layer.gate_up(rms_norm(x, width, layer.before_mlp, self._eps)).chunk(2, -1)
            x = x + layer.down(silu(gate) * up)
        if not scores:
            return None
        return self._vocabulary(rms_norm(x[plan.last], width, self._norm, self._eps))

    def _attention(
        self, index: int, layer: DecoderLayer, qkv: Tensor, cos: Tensor, sin: Tensor, plan: ForwardPlan
    ) -> Tensor:
        tokens = qkv.shape[0]
        qkv = qkv.view(tokens, self.heads + 2 * self.kv_heads, self.head_dim)
        qk, v = qkv[:, : self.heads + self.kv_heads], qkv[:, self.heads + self.kv_heads :]
        if layer.q_norm is not None and layer.k_norm is not None:
            q = rms_norm(qk[:, : self.heads], (self.head_dim,), layer.q_norm, self._eps)
            qk = torch.cat([q, rms_norm(qk[:, self.heads :], (self.head_dim,), layer.k_norm, self._eps)], 1)
        qk = torch.addcmul(qk * cos, qk.roll(self.head_dim // 2, -1), sin)
        plan.kv_cache.k[index][plan.slot_of, :, plan.index_in_suffix] = qk[:, self.heads :]
        plan.kv_cache.v[index][plan.slot_of, :, plan.index_in_suffix] = v
        q = qk[:, : self.heads]
        seen = [
            self._attend_part(index, self._lay_out_queries(q[part.packed], part), plan, part) for part in plan.parts
        ]
        return seen[0] if len(seen) == 1 else torch.cat(seen)

    def _lay_out_queries(self, q: Tensor, part: AttentionPart) -> Tensor:
        """Queries [tokens, heads, size] as [rows, kv heads, queries * group, size]."""
        q = q.reshape(-1, self.kv_heads, self.group, self.head_dim)
        if part.queries == 1:
            return q
        if part.pad is not None:
            q = q[part.pad]
        q = q.view(part.rows, part.queries, self.kv_heads, self.group, self.head_dim)
        return q.permute(0, 2, 1, 3, 4).reshape(part.rows, self.kv_heads, -1, self.head_dim)

    def _attend_part(self, index: int, q: Tensor, plan: ForwardPlan, part: AttentionPart) -> Tensor:
        slots = slice(part.first, part.first + part.rows)
        k = plan.kv_cache.k[index][slots, :, : part.key_length]
        v = plan.kv_cache.v[index][slots, :, : part.key_length]
        out, weight = self._attend(q, k, v, part.mask)
        for call in part.prefix_calls:
            out = self._join_prefix(index, q, out, weight, call, plan)
        if part.queries == 1:
            return out.reshape(part.rows, self.heads * self.head_dim)
        out = out.view(part.rows, self.kv_heads, part.queries, self.group, self.head_dim).permute(0, 2, 1, 3, 4)
        out = out.reshape(part.rows * part.queries, self.heads * self.head_dim)
        return out if part.unpad is None else out[part.unpad]

    def _join_prefix(
        self, index: int, q: Tensor, out: Tensor, weight: Tensor, call: PrefixAttention, plan: ForwardPlan
    ) -> Tensor:
        assert plan.prefix_kv_cache is not None
        slots = slice(call.first, call.first + call.count)
        k = plan.prefix_kv_cache.k[index][slots, :, : call.length]
        v = plan.prefix_kv_cache.v[index][slots, :, : call.length]
        span = q.shape[2]
        laid = q[call.take].view(call.count, call.width, self.kv_heads, span, self.head_dim).transpose(1, 2)
        seen, seen_weight = self._attend(laid.reshape(call.count, self.kv_heads, -1, self.head_dim), k, v, call.mask)
        seen = seen.reshape(call.count, self.kv_heads, call.width, span, self.head_dim).transpose(1, 2)
        seen = seen.reshape(-1, self.kv_heads, span, self.head_dim)[call.back]
        seen_weight = seen_weight.reshape(call.count, self.kv_heads, call.width, span).transpose(1, 2)
        seen_weight = seen_weight.reshape(-1, self.kv_heads, span)[call.back]
        if call.rows is None:
            return self._merge(out, weight, seen, seen_weight)
        out[call.rows] = self._merge(out[call.rows], weight[call.rows], seen, seen_weight)
        return out

    @staticmethod
    def _merge(out: Tensor, weight: Tensor, seen: Tensor, seen_weight: Tensor) -> Tensor:
        # softmax over two parts: each part weighs exp(log-sum-exp), so the share is a sigmoid of the difference
        share = torch.sigmoid(weight - seen_weight).unsqueeze(-1).to(out.dtype)
        return torch.lerp(seen, out, share)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The attention output, and the log of the softmax's denominator [..., queries]."""
        # a private operator, because the public one does not return the denominator that joins two parts
        out, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, False, attn_mask=mask)
        return out, weight
