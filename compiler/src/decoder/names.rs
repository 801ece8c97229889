//! What tensors are called.

/// What a tensor is in the model; layers by their number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Embedding,
    FinalNorm,
    Head,
    AttentionNorm(usize),
    Query(usize),
    Key(usize),
    Value(usize),
    QueryNorm(usize),
    KeyNorm(usize),
    AttentionOutput(usize),
    PostAttentionNorm(usize),
    FeedForwardNorm(usize),
    Gate(usize),
    Up(usize),
    Down(usize),
    PostFeedForwardNorm(usize),
}

/// Whose names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Naming {
    Gguf,
    /// With norms after attention and feed-forward, too, the norm before the latter has another name.
    HuggingFace {
        post_norms: bool,
    },
}

impl Naming {
    /// The tensor's name without `.weight` or `.bias`.
    pub fn of(self, role: Role) -> String {
        match self {
            Naming::Gguf => gguf(role),
            Naming::HuggingFace { post_norms } => hugging_face(role, post_norms),
        }
    }
}

fn gguf(role: Role) -> String {
    let (layer, name) = match role {
        Role::Embedding => return "token_embd".to_string(),
        Role::FinalNorm => return "output_norm".to_string(),
        Role::Head => return "output".to_string(),
        Role::AttentionNorm(layer) => (layer, "attn_norm"),
        Role::Query(layer) => (layer, "attn_q"),
        Role::Key(layer) => (layer, "attn_k"),
        Role::Value(layer) => (layer, "attn_v"),
        Role::QueryNorm(layer) => (layer, "attn_q_norm"),
        Role::KeyNorm(layer) => (layer, "attn_k_norm"),
        Role::AttentionOutput(layer) => (layer, "attn_output"),
        Role::PostAttentionNorm(layer) => (layer, "post_attention_norm"),
        Role::FeedForwardNorm(layer) => (layer, "ffn_norm"),
        Role::Gate(layer) => (layer, "ffn_gate"),
        Role::Up(layer) => (layer, "ffn_up"),
        Role::Down(layer) => (layer, "ffn_down"),
        Role::PostFeedForwardNorm(layer) => (layer, "post_ffw_norm"),
    };
    format!("blk.{layer}.{name}")
}

fn hugging_face(role: Role, post_norms: bool) -> String {
    let (layer, name) = match role {
        Role::Embedding => return "model.embed_tokens".to_string(),
        Role::FinalNorm => return "model.norm".to_string(),
        Role::Head => return "lm_head".to_string(),
        Role::AttentionNorm(layer) => (layer, "input_layernorm"),
        Role::Query(layer) => (layer, "self_attn.q_proj"),
        Role::Key(layer) => (layer, "self_attn.k_proj"),
        Role::Value(layer) => (layer, "self_attn.v_proj"),
        Role::QueryNorm(layer) => (layer, "self_attn.q_norm"),
        Role::KeyNorm(layer) => (layer, "self_attn.k_norm"),
        Role::AttentionOutput(layer) => (layer, "self_attn.o_proj"),
        Role::PostAttentionNorm(layer) => (layer, "post_attention_layernorm"),
        Role::FeedForwardNorm(layer) if post_norms => (layer, "pre_feedforward_layernorm"),
        Role::FeedForwardNorm(layer) => (layer, "post_attention_layernorm"),
        Role::Gate(layer) => (layer, "mlp.gate_proj"),
        Role::Up(layer) => (layer, "mlp.up_proj"),
        Role::Down(layer) => (layer, "mlp.down_proj"),
        Role::PostFeedForwardNorm(layer) => (layer, "post_feedforward_layernorm"),
    };
    format!("model.layers.{layer}.{name}")
}
