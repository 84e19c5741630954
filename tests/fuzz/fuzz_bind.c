/* fuzz_bind.c - a tiny model whose matrices lie together in tensors (Phi-3's, InternLM2's, experts in a stack or
 * apart), with some tensors of other shapes or none, and with the tensors of an adapter: the directory is refused, or
 * opens and runs.
 *
 * | architecture | n changes: tensor, what, size | tensors of an adapter: which, rank, size |
 *
 * An adapter's A and B have the shapes that they ought to have, but for a size that is not 0. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "file/adapter.h"
#include "model/lora.h"
#include "model/model.h"
#include "op/op.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define L "model.layers.0."
#define COMMON "\"hidden_size\":4,\"intermediate_size\":6,\"num_hidden_layers\":1,\"num_attention_heads\":2," \
    "\"num_key_value_heads\":1,\"vocab_size\":8,\"tie_word_embeddings\":true,\"sliding_window\":null"
#define EXPERTS ",\"head_dim\":2,\"num_experts\":3,\"num_experts_per_tok\":2,\"moe_intermediate_size\":5"
enum { CHANGES = 8 };
static const char *const config[] = {
    "{\"model_type\":\"phi3\"," COMMON ",\"pad_token_id\":null}",
    "{\"model_type\":\"internlm2\"," COMMON ",\"bias\":false}",
    "{\"model_type\":\"qwen3_moe\"," COMMON EXPERTS "}", "{\"model_type\":\"qwen3_moe\"," COMMON EXPERTS "}",
};

/* Which architectures have it, a bit each; dims 3: [deep, rows, cols]. */
struct shape { const char *name; unsigned of; size_t deep, rows, cols; };
static const struct shape tensor[] = {
    { "model.embed_tokens.weight", 13, 0, 8, 4 }, { "model.tok_embeddings.weight", 2, 0, 8, 4 },
    { "model.norm.weight", 15, 0, 0, 4 }, { L "input_layernorm.weight", 13, 0, 0, 4 },
    { L "post_attention_layernorm.weight", 13, 0, 0, 4 }, { L "attention_norm.weight", 2, 0, 0, 4 },
    { L "ffn_norm.weight", 2, 0, 0, 4 }, { L "self_attn.qkv_proj.weight", 1, 0, 8, 4 },
    { L "attention.wqkv.weight", 2, 0, 8, 4 }, { L "attention.wo.weight", 2, 0, 4, 4 },
    { L "self_attn.o_proj.weight", 13, 0, 4, 4 }, { L "mlp.gate_up_proj.weight", 1, 0, 12, 4 },
    { L "mlp.down_proj.weight", 1, 0, 4, 6 }, { L "feed_forward.w1.weight", 2, 0, 6, 4 },
    { L "feed_forward.w3.weight", 2, 0, 6, 4 }, { L "feed_forward.w2.weight", 2, 0, 4, 6 },
    { L "self_attn.q_proj.weight", 12, 0, 4, 4 }, { L "self_attn.k_proj.weight", 12, 0, 2, 4 },
    { L "self_attn.v_proj.weight", 12, 0, 2, 4 }, { L "self_attn.q_norm.weight", 12, 0, 0, 2 },
    { L "self_attn.k_norm.weight", 12, 0, 0, 2 }, { L "mlp.gate.weight", 12, 0, 3, 4 },
    { L "mlp.experts.gate_up_proj", 8, 3, 10, 4 }, { L "mlp.experts.down_proj", 8, 3, 4, 5 },
    { L "mlp.experts.0.gate_proj.weight", 4, 0, 5, 4 }, { L "mlp.experts.0.up_proj.weight", 4, 0, 5, 4 },
    { L "mlp.experts.0.down_proj.weight", 4, 0, 4, 5 }, { L "mlp.experts.1.gate_proj.weight", 4, 0, 5, 4 },
    { L "mlp.experts.1.up_proj.weight", 4, 0, 5, 4 }, { L "mlp.experts.1.down_proj.weight", 4, 0, 4, 5 },
    { L "mlp.experts.2.gate_proj.weight", 4, 0, 5, 4 }, { L "mlp.experts.2.up_proj.weight", 4, 0, 5, 4 },
    { L "mlp.experts.2.down_proj.weight", 4, 0, 4, 5 },
};
/* Beside what an adapter may stand: outputs, inputs, and how many times the rank it has. */
static const struct { const char *name; size_t out, in, times; } beside[] = {
    { L "self_attn.qkv_proj", 8, 4, 1 }, { L "mlp.gate_up_proj", 12, 4, 1 }, { L "attention.wqkv", 8, 4, 1 },
    { L "self_attn.q_proj", 4, 4, 1 }, { L "self_attn.v_proj", 2, 4, 1 }, { L "mlp.gate", 3, 4, 1 },
    { L "mlp.experts", 4, 5, 3 }, { L "mlp.experts.base_layer", 10, 4, 3 }, { L "mlp.experts", 10, 4, 3 },
    { L "mlp.experts.0.gate_proj", 5, 4, 1 }, { L "mlp.experts.2.down_proj", 4, 5, 1 }, { L "mlp.down_proj", 4, 6, 1 },
};

struct made { gr_buf header; size_t floats; };

static void add(struct made *m, const char *name, const size_t *dim, size_t n_dims)
{
    gr_buf shape = { 0 };
    size_t n = 1;

    gr_buf_puts(&shape, "");
    for (size_t i = 0; i < n_dims; i++) {
        gr_buf_printf(&shape, "%s%zu", i ? "," : "", dim[i]);
        n *= dim[i];
    }
    gr_buf_printf(&m->header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                  m->header.n > 1 ? "," : "{", name, shape.p, 4 * m->floats, 4 * (m->floats + n));
    m->floats += n;
    gr_buf_clear(&shape);
}

static void write_file(const char *dir, const char *name, const gr_buf *text)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "wb");
    if (!f || fwrite(text->p, 1, text->n, f) != text->n || fclose(f))
        abort();
}

static void write_tensors(const char *dir, const char *name, struct made *m)
{
    gr_buf all = { 0 };
    uint64_t n;

    gr_buf_puts(&m->header, m->header.n ? "}" : "{}");
    n = m->header.n;
    gr_buf_add(&all, &n, sizeof n);
    gr_buf_add(&all, m->header.p, m->header.n);
    for (size_t i = 0; i < m->floats; i++) {
        float x = (float)((double)(i * 37 % 64) / 64 - 0.5);
        gr_buf_add(&all, &x, sizeof x);
    }
    write_file(dir, name, &all);
    gr_buf_clear(&all);
    gr_buf_clear(&m->header);
}

static void write_base(const char *dir, size_t arch, const uint8_t *change, size_t n)
{
    struct made m = { 0 };
    gr_buf text = { 0 };

    for (size_t i = 0; i < GR_COUNT(tensor); i++) {
        size_t dim[3], dims = 0;
        bool there = tensor[i].of >> arch & 1;
        if (tensor[i].deep)
            dim[dims++] = tensor[i].deep;
        if (tensor[i].rows)
            dim[dims++] = tensor[i].rows;
        dim[dims++] = tensor[i].cols;
        for (size_t k = 0; k < n; k++, there = there && dims) {
            const uint8_t *c = change + 3 * k;
            if (c[0] % GR_COUNT(tensor) != i)
                continue;
            if (c[1] % 8 < 3 && dims > c[1] % 8)
                dim[c[1] % 8] = c[2] % 32;
            else if (c[1] % 8 == 3)
                there = false;
            else if (c[1] % 8 == 4)
                there = true;
            else if (c[1] % 8 == 5 && dims > 1)
                dims--;
        }
        if (there)
            add(&m, tensor[i].name, dim, dims);
    }
    write_tensors(dir, "model.safetensors", &m);
    gr_buf_puts(&text, config[arch]);
    write_file(dir, "config.json", &text);
    gr_buf_clear(&text);
}

static void write_adapter(const char *dir, unsigned how, const uint8_t *p, size_t n)
{
    static const char *const parameters[] = { "", "\"mlp.experts.gate_up_proj\"", "\"experts.down_proj\"",
                                              "\"down_proj\",\"experts.gate_up_proj\",\"mlp.gate.weight\"" };
    struct made m = { 0 };
    gr_buf text = { 0 };
    unsigned seen = 0;

    for (size_t i = 0; i < n; i++, p += 3) {
        size_t which = p[0] % GR_COUNT(beside), rank = (p[1] % 3 + 1) * beside[which].times;
        size_t a[2] = { rank, beside[which].in }, b[2] = { beside[which].out, rank };
        char name[128];
        if (seen >> which & 1 || (which == 8 && seen >> 6 & 1) || (which == 6 && seen >> 8 & 1))
            continue;
        seen |= 1u << which;
        if (p[2] % 4 == 1)
            a[p[2] / 4 % 2] = p[2] / 8;
        if (p[2] % 4 == 2)
            b[p[2] / 4 % 2] = p[2] / 8;
        snprintf(name, sizeof name, GR_ADAPTER_STEM "%s.lora_A.weight", beside[which].name);
        add(&m, name, a, 2);
        snprintf(name, sizeof name, GR_ADAPTER_STEM "%s.lora_B.weight", beside[which].name);
        if (p[2] % 4 != 3)
            add(&m, name, b, 2);
    }
    write_tensors(dir, GR_ADAPTER_WEIGHTS, &m);
    gr_buf_printf(&text, "{\"peft_type\":\"LORA\",\"r\":%u,\"lora_alpha\":2,\"target_parameters\":[%s]}",
                  how / 4 % 3 + 1, parameters[how % 4]);
    write_file(dir, GR_ADAPTER_CONFIG, &text);
    gr_buf_clear(&text);
}

/* Open as long as the process. */
static gr_device *device(void)
{
    static gr_device *d;
    gram_err err;

    if (!d && gr_device_open(&d, NULL, 1, &err))
        abort();
    return d;
}

static void run(gr_model *m, gr_lora *lora)
{
    static const int32_t token[] = { 1, 2, 3, 4 };
    const gr_seq seq[2] = { { token, 3 }, { token, 4 } };
    float out[4];
    gr_work *w;
    gr_forest f;
    gram_err err;

    if (gr_work_open(&w, m, lora, GR_ROWS_ALIKE, device(), &err) ||
        gr_forest_init(&f, seq, 2, gr_model_config(m)->far.after, NULL, GR_SAVE_SHARED, &err) ||
        gr_model_label_logits(w, &f, token, 2, out, &err))
        abort();
    gr_forest_clear(&f, true);
    gr_work_close(w);
}

/* Folded, and as training reads it. */
static void open_and_run(const char *dir, const gr_adapter *a, bool folded)
{
    gr_weights *w;
    gr_config c;
    gr_model *m;
    gr_lora *l = NULL;
    gram_err err;

    if (gr_weights_open_dir(&w, dir, &err))
        return;
    if (!gr_config_open(&c, w, folded ? a : NULL, &(gr_head_asked){ 0 }, &err) &&
        !gr_model_open_folded(&m, device(), w, folded ? a : NULL, &c, GR_LINEAR_F32, GR_MODEL_FIXED, &err)) {
        if (folded || !a || !gr_lora_read(&l, m, a, &err))
            run(m, l);
        gr_lora_close(l);
        gr_model_close(m);
    }
    gr_weights_close(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char dir[] = "/tmp/fuzz-bind-XXXXXX";
    static bool ready;
    gr_adapter *a = NULL;
    gram_err err;
    size_t n, left;

    if (size < 2)
        return 0;
    if (!ready && !mkdtemp(dir))
        abort();
    ready = true;
    n = gr_min(data[1] % CHANGES, (size - 2) / 3);
    left = (size - 2) / 3 - n;
    write_base(dir, data[0] % GR_COUNT(config), data + 2, n);
    if (left) {
        write_adapter(dir, data[0] / 4, data + 2 + 3 * n, gr_min(left, GR_COUNT(beside)));
        if (gr_adapter_open(&a, dir, &err))
            return 0;
    }
    open_and_run(dir, a, true);
    if (a)
        open_and_run(dir, a, false);
    gr_adapter_close(a);
    return 0;
}
