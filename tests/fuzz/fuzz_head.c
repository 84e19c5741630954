/* fuzz_head.c - a model of one tiny layer with tensors and keys about a reward head as the input says: the directory is
 * refused, or opens as a model that gives rewards or logits.
 *
 * | flags | n tensors: name, dimensions | text of more keys for config.json | */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "file/adapter.h"
#include "model/model.h"
#include "op/op.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TRUNK "model.layers.0."
static const struct { const char *name; size_t rows, cols; } trunk[] = {
    { "model.embed_tokens.weight", 8, 4 }, { "model.norm.weight", 0, 4 }, { TRUNK "input_layernorm.weight", 0, 4 },
    { TRUNK "post_attention_layernorm.weight", 0, 4 }, { TRUNK "self_attn.q_proj.weight", 4, 4 },
    { TRUNK "self_attn.k_proj.weight", 4, 4 }, { TRUNK "self_attn.v_proj.weight", 4, 4 },
    { TRUNK "self_attn.o_proj.weight", 4, 4 }, { TRUNK "mlp.gate_proj.weight", 4, 4 },
    { TRUNK "mlp.up_proj.weight", 4, 4 }, { TRUNK "mlp.down_proj.weight", 4, 4 },
};
static const char *const stem[] = { "score", "v_head.summary", "v_head", "value_head", "rm_head", "score_head",
                                    "regression_layer", "cls", "cls.output", "score.0", "score.2", "v_head.summary.0",
                                    "v_head.summary.2", "gating.layers.0", "gating.layers.1", "gating.layers.8",
                                    "weights.fc.0", "weights.fc.2", "weights.fc.4", "lm_head", "normalizer" };
static const char *const whole[] = { "gating.logit_scale", "reward_transform_matrix", "normalizer.mean", "x.weight" };
static const char *const class[] = { "LlamaForCausalLM", "LlamaForSequenceClassification", "RewardModel",
                                     "LlamaForScore", "LlamaForRewardModelWithGating", "Thing", "ForX" };

struct made { gr_buf header; size_t floats; };

static void add(struct made *m, const char *name, const char *end, size_t n_dims, size_t rows, size_t cols)
{
    size_t n = (n_dims > 1 ? rows : 1) * (n_dims > 0 ? cols : 1);
    char shape[64];

    *shape = '\0';
    if (n_dims == 1)
        snprintf(shape, sizeof shape, "%zu", cols);
    if (n_dims == 2)
        snprintf(shape, sizeof shape, "%zu,%zu", rows, cols);
    gr_buf_printf(&m->header, "%s\"%s%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                  m->header.n > 1 ? "," : "", name, end, shape, 4 * m->floats, 4 * (m->floats + n));
    m->floats += n;
}

static void write_file(const char *dir, const char *name, const void *a, size_t n, const void *b, size_t k)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "wb");
    if (!f || fwrite(a, 1, n, f) != n || fwrite(b, 1, k, f) != k || fclose(f))
        abort();
}

static void write_weights(const char *dir, struct made *m)
{
    static float value[4096];
    uint64_t n;

    gr_buf_puts(&m->header, "}");
    n = m->header.n;
    for (size_t i = 0; i < GR_COUNT(value); i++)
        value[i] = (float)((double)(i * 37 % 64) / 64 - 0.5);
    if (m->floats > GR_COUNT(value))
        abort();
    {
        gr_buf all = { 0 };
        gr_buf_add(&all, (const char *)&n, sizeof n);
        gr_buf_add(&all, m->header.p, m->header.n);
        write_file(dir, "model.safetensors", all.p, all.n, value, 4 * m->floats);
        gr_buf_clear(&all);
    }
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

/* Forward over two conversations of three tokens. */
static void run(gr_model *m)
{
    static const int32_t token[] = { 1, 2, 3, 4 };
    const gr_seq seq[2] = { { token, 3 }, { token, 4 } };
    const gr_config *c = gr_model_config(m);
    size_t end[2] = { 0, 1 };
    float out[16];
    gr_work *w;
    gr_forest f;
    gram_err err;

    if (gr_work_open(&w, m, NULL, GR_ROWS_ALIKE, device(), &err) ||
        gr_forest_init(&f, seq, 2, 0, NULL, GR_SAVE_SHARED, &err))
        abort();
    for (size_t i = 0; i < 2; i++)
        end[i] = gr_forest_row(&f, i, end[i]);
    if (c->reward ? gr_model_rewards(w, &f, gr_config_reads_prompt(c) ? end : NULL, out, &err)
                  : gr_model_label_logits(w, &f, token, 2, out, &err))
        abort();
    gr_forest_clear(&f, true);
    gr_work_close(w);
}

static void open_and_run(const char *dir, const gr_head_asked *asked)
{
    gr_weights *w;
    gr_config c;
    gr_model *m;
    gram_err err;

    if (gr_weights_open_dir(&w, dir, &err))
        return;
    if (!gr_config_open(&c, w, NULL, asked, &err)) {
        if (!gr_model_open(&m, device(), w, &c, GR_LINEAR_F32, &err)) {
            run(m);
            gr_model_close(m);
        }
    }
    gr_weights_close(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char dir[] = "/tmp/fuzz-head-XXXXXX";
    struct made m = { 0 };
    gr_buf config = { 0 };
    size_t n, at = 2;
    static bool ready;

    if (size < 2)
        return 0;
    if (!ready && !mkdtemp(dir))
        abort();
    ready = true;
    n = gr_min(data[1] % 16, (size - at) / 3);
    gr_buf_puts(&m.header, "{");
    for (size_t i = 0; i < GR_COUNT(trunk); i++)
        add(&m, trunk[i].name, "", trunk[i].rows ? 2 : 1, trunk[i].rows, trunk[i].cols);
    for (size_t i = 0; i < n; i++, at += 3) {
        size_t which = data[at] % (2 * GR_COUNT(stem) + GR_COUNT(whole)), dims = data[at + 1] % 3;
        bool bias = which >= GR_COUNT(stem) && which < 2 * GR_COUNT(stem);
        const char *name = which < 2 * GR_COUNT(stem) ? stem[which % GR_COUNT(stem)]
                                                      : whole[which - 2 * GR_COUNT(stem)];
        add(&m, name, which >= 2 * GR_COUNT(stem) ? "" : bias ? ".bias" : ".weight", dims, data[at + 2] % 9,
            data[at + 2] / 9 % 9);
    }
    write_weights(dir, &m);
    gr_buf_printf(&config, "{\"model_type\":\"llama\",\"architectures\":[\"%s\"],\"hidden_size\":4,"
                  "\"intermediate_size\":4,\"num_hidden_layers\":1,\"num_attention_heads\":1,"
                  "\"num_key_value_heads\":1,\"vocab_size\":8,"
                  "\"tie_word_embeddings\":true%s", class[data[0] % GR_COUNT(class)], size > at ? "," : "");
    gr_buf_add(&config, (const char *)data + at, size - at);
    write_file(dir, "config.json", config.p, config.n, "}", 1);
    open_and_run(dir, &(gr_head_asked){ data[0] / 64 == 1 ? "5" : NULL, data[0] / 64 == 2 ? "1,-0.5" : NULL });
    gr_buf_clear(&m.header);
    gr_buf_clear(&config);
    return 0;
}
