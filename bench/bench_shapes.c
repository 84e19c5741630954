/* bench_shapes.c - models of Qwen3's shapes with random weights: scoring and training on a device, one line of JSON.
 *
 *     bench_shapes make SHAPE DIR                             tiny, 0.6B, 1.7B or 8B, in bfloat16
 *     bench_shapes score DIR DEVICE SECONDS [TOKENS [PAIRS]]  pairs/s, both orders, each of TOKENS, which share nothing
 *     bench_shapes train DIR DEVICE STEPS [TOKENS [PAIRS]]    steps over every weight, tokens/s; bfloat16 weights
 *     bench_shapes share N DIR STEPS [TOKENS [PAIRS]]         the same in N processes with a GPU each, ZeRO-2
 *
 * flops is what a forward pass takes: 2 for each parameter and token, the table and the head left out, and 2 T H D for
 * each token and layer of attention over T positions; a step takes 3 times that. What fails is said in "error". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/random.h"
#include "file/config.h"
#include "op/op.h"
#include "reward/loss.h"
#include "train/share.h"

struct shape { const char *name; size_t width, hidden, layers, heads, kv, head, words; bool tied; };
static const struct shape shapes[] = {
    { "tiny", 64, 128, 2, 2, 1, 32, 300, true },
    { "0.6B", 1024, 3072, 28, 16, 8, 128, 151936, true },
    { "1.7B", 2048, 6144, 28, 16, 8, 128, 151936, true },
    { "8B", 4096, 12288, 36, 32, 8, 128, 151936, false },
};
enum { BLOCK = 1 << 20 };                   /* random weights, again and again from another place */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void need(gram_status rc, const gram_err *err)
{
    if (!rc)
        return;
    printf("{\"error\": \"%s\"}\n", err->text);
    fflush(stdout);
    exit(1);
}

static void *room(size_t n, size_t size)
{
    void *p = calloc(n, size);

    if (!p)
        exit(1);
    return p;
}

/* ---- A model --------------------------------------------------------------------------------------- */

struct file { FILE *f; uint16_t *block; char *head; size_t at, used; bool writing; };

/* A line of the header, or then the tensor's bytes; a norm's are ones. */
static void tensor(struct file *o, const char *layer, const char *name, size_t rows, size_t cols)
{
    size_t n = (rows ? rows : 1) * cols;

    if (!o->writing) {
        char shape[50];
        if (rows)
            snprintf(shape, sizeof shape, "[%zu,%zu]", rows, cols);
        else
            snprintf(shape, sizeof shape, "[%zu]", cols);
        o->used += (size_t)sprintf(o->head + o->used, "%s\"%s%s.weight\":{\"dtype\":\"BF16\",\"shape\":%s,"
                                   "\"data_offsets\":[%zu,%zu]}", o->used ? "," : "", layer, name, shape, o->at,
                                   o->at + 2 * n);
        o->at += 2 * n;
        return;
    }
    for (size_t k; n > 0; n -= k) {
        size_t from = rows ? o->at % (BLOCK / 2) : BLOCK;
        k = rows ? gr_min(n, BLOCK - from) : gr_min(n, BLOCK);
        if (fwrite(o->block + from, 2, k, o->f) != k)
            exit(1);
        o->at = (o->at + 7919) * 31 + k;
    }
}

static void tensors(struct file *o, const struct shape *s)
{
    size_t C = s->width, q = s->heads * s->head, kv = s->kv * s->head;

    tensor(o, "", "model.embed_tokens", s->words, C);
    for (size_t i = 0; i < s->layers; i++) {
        char at[40];
        snprintf(at, sizeof at, "model.layers.%zu.", i);
        tensor(o, at, "input_layernorm", 0, C);
        tensor(o, at, "mlp.down_proj", C, s->hidden);
        tensor(o, at, "mlp.gate_proj", s->hidden, C);
        tensor(o, at, "mlp.up_proj", s->hidden, C);
        tensor(o, at, "post_attention_layernorm", 0, C);
        tensor(o, at, "self_attn.k_norm", 0, s->head);
        tensor(o, at, "self_attn.k_proj", kv, C);
        tensor(o, at, "self_attn.o_proj", C, q);
        tensor(o, at, "self_attn.q_norm", 0, s->head);
        tensor(o, at, "self_attn.q_proj", q, C);
        tensor(o, at, "self_attn.v_proj", kv, C);
    }
    tensor(o, "", "model.norm", 0, C);
    if (!s->tied)
        tensor(o, "", "lm_head", s->words, C);
}

static FILE *create(const char *dir, const char *name)
{
    char path[1000];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "wb");
    if (!f) {
        perror(path);
        exit(1);
    }
    return f;
}

static int make(const struct shape *s, const char *dir)
{
    struct file o = { .block = room(2 * BLOCK, sizeof *o.block), .head = room(s->layers * 12 + 3, 200) };
    uint64_t seed = 1, bytes;
    FILE *f = create(dir, "config.json");

    fprintf(f, "{\"architectures\": [\"Qwen3ForCausalLM\"], \"model_type\": \"qwen3\", \"hidden_size\": %zu, "
            "\"intermediate_size\": %zu, \"num_hidden_layers\": %zu, \"num_attention_heads\": %zu, "
            "\"num_key_value_heads\": %zu, \"head_dim\": %zu, \"vocab_size\": %zu, \"max_position_embeddings\": 32768, "
            "\"rms_norm_eps\": 1e-6, \"rope_theta\": 1000000.0, \"hidden_act\": \"silu\", \"attention_bias\": false, "
            "\"use_sliding_window\": false, \"tie_word_embeddings\": %s, \"torch_dtype\": \"bfloat16\"}\n", s->width,
            s->hidden, s->layers, s->heads, s->kv, s->head, s->words, s->tied ? "true" : "false");
    fclose(f);
    for (size_t i = 0; i < 2 * BLOCK; i++) {
        float x = i < BLOCK ? (float)(0.07 * gr_random_unit(&seed) - 0.035) : 1;
        uint32_t u;
        memcpy(&u, &x, sizeof u);
        o.block[i] = (uint16_t)(u >> 16);
    }
    o.f = create(dir, "model.safetensors");
    tensors(&o, s);
    while ((o.used + 2) % 8)
        o.head[o.used++] = ' ';
    bytes = o.used + 2;
    fwrite(&bytes, sizeof bytes, 1, o.f);
    fprintf(o.f, "{%.*s}", (int)o.used, o.head);
    o.writing = true;
    o.at = 0;
    tensors(&o, s);
    return fclose(o.f) ? 1 : 0;
}

/* ---- Scoring and training -------------------------------------------------------------------------- */

struct bench {
    gr_dist *d;
    gr_device *device;
    gr_weights *weights;
    gr_model *model;
    size_t tokens, pairs;
    gr_example *row;
    const gr_example **each;
    gr_seq *seq;
};

static void open_bench(struct bench *b, const char *dir, const char *device, gr_linear_mode mode, gr_model_use use)
{
    gr_config cfg;
    gram_err err;
    uint64_t seed = 7;

    need(gr_device_open(&b->device, device, 0, &err), &err);
    need(gr_weights_open_dir(&b->weights, dir, &err), &err);
    need(gr_config_read(&cfg, dir, &err), &err);
    b->row = room(b->pairs, sizeof *b->row);
    b->each = room(b->pairs, sizeof *b->each);
    b->seq = room(2 * b->pairs, sizeof *b->seq);
    for (size_t i = 0; i < 2 * b->pairs; i++) {
        gr_ids *ids = &b->row[i / 2].seq[i % 2];
        for (size_t k = 0; k < b->tokens; k++) {
            int32_t id = (int32_t)(gr_random_unit(&seed) * (double)(cfg.vocabulary - 1));
            if (!gr_ids_add(ids, &id, 1))
                exit(1);
        }
        b->seq[i] = (gr_seq){ ids->p, ids->n };
        b->row[i / 2].target = b->row[i / 2].weight = 1;
        b->each[i / 2] = &b->row[i / 2];
    }
    need(gr_model_open_folded(&b->model, b->device, b->weights, NULL, &cfg, mode, use, &err), &err);
}

static void print_rest(const struct bench *b, double passes)
{
    const gr_config *c = gr_model_config(b->model);
    double T = (double)b->tokens, attention = 2 * T * (double)(c->heads * c->head_dim * c->layers), per_layer;

    per_layer = (double)c->width * (double)(c->heads * c->head_dim) * 2 + (double)c->width *
                (double)(c->kv_heads * c->head_dim) * 2 + 3 * (double)c->width * (double)c->hidden;
    printf("\"pairs\": %zu, \"tokens\": %zu, \"flops_a_token\": %.4g}\n", b->pairs, b->tokens,
           passes * (2 * per_layer * (double)c->layers + attention));
}

static int score(struct bench *b, const char *dir, const char *device, double limit)
{
    static const int32_t label[] = { 3, 5 };
    float *logits = room(2 * b->pairs, sizeof label);
    double best = 1e30, opened = now();
    gr_work *work;
    gram_err err;

    open_bench(b, dir, device, GR_LINEAR_ROUNDED, GR_MODEL_FIXED);
    need(gr_work_open(&work, b->model, NULL, GR_ROWS_ALIKE, b->device, &err), &err);
    opened = now() - opened;
    for (double end = now() + limit, t; best == 1e30 || now() < end; best = t < best ? t : best) {
        gr_forest f;
        t = now();
        need(gr_forest_init(&f, b->seq, 2 * b->pairs, 0, NULL, GR_SAVE_SHARED, &err), &err);
        need(gr_model_label_logits(work, &f, label, 2, logits, &err), &err);
        gr_forest_clear(&f, true);
        t = now() - t;
    }
    printf("{\"pairs_per_s\": %.4g, \"tokens_per_s\": %.5g, \"open_seconds\": %.3f, ", (double)b->pairs / best,
           2 * (double)(b->pairs * b->tokens) / best, opened);
    print_rest(b, 1);
    return 0;
}

/* Steps as the loop of training takes them; under several processes each has its rows. */
static int train(struct bench *b, const char *dir, const char *device, size_t steps)
{
    size_t mine = b->pairs, n;
    double best = 1e30, reduced = 1e30;
    gr_trainee *t;
    gr_adamw adam;
    gr_share share;
    gr_grad grad;
    gram_err err;
    gr_param *p;

    open_bench(b, dir, device, GR_LINEAR_BF16, GR_MODEL_WRITABLE);
    need((b->d ? gr_trainee_open_layers : gr_trainee_open)(&t, b->model, b->device, &err), &err);
    p = gr_trainee_params(t, &n);
    need(gr_share_cut(&adam, p, n, b->d, b->d ? t : NULL, false, &err), &err);
    need(gr_share_open(&share, b->d, &adam, b->d ? t : NULL, &err), &err);
    grad = (gr_grad){ .t = t, .cfg = gr_model_config(b->model), .device = b->device, .label = { 3, 5 },
                      .loss = { .kind = GRAM_LOSS_GRAM } };
    need(gr_share_batch(&share, b->each, &mine, &err), &err);
    for (size_t i = 0; i <= steps; i++) {
        double start = now(), passed;
        gr_sum sum = { 0 };
        gr_trainee_zero(t);
        gr_share_begin(&share);
        gr_trainee_drop(t, 0, i);
        for (size_t k = 0; k < mine; k += 8)            /* 8 pairs of 2,000 tokens are a micro-batch */
            need(gr_grad_add(&grad, b->each + k, gr_min(8, mine - k), (double)b->pairs, true, &sum, &err), &err);
        need(gr_share_end_passes(&share, &err), &err);
        need(gr_device_wait(b->device, &err), &err);
        passed = now();
        need(gr_share_gradients(&share, b->device, &err), &err);
        gr_adamw_step(&adam, 1e-6, 1, b->device);
        need(gr_share_values(&share, &err), &err);
        need(gr_device_wait(b->device, &err), &err);
        if (i > 0 && now() - start < best) {
            best = now() - start;
            reduced = now() - passed;
        }
    }
    if (gr_dist_rank(b->d) == 0) {
        printf("{\"tokens_per_s\": %.5g, \"step_seconds\": %.4f, \"behind_passes_seconds\": %.4f, \"processes\": %zu, "
               "\"by_nccl\": %s, ", 2 * (double)(b->pairs * b->tokens) / best, best, reduced, gr_dist_size(b->d),
               gr_dist_device_bytes(b->d) ? "true" : "false");
        print_rest(b, 3);
    }
    gr_share_clear(&share);
    gr_dist_close(b->d);
    return 0;
}

static int share_out(char **argv, int argc)
{
    const char *device[16];
    char name[16][12], *all[8] = { argv[0], (char *)(uintptr_t)"train", argv[3], (char *)(uintptr_t)"", argv[4] };
    size_t n = strtoul(argv[2], NULL, 10);
    int status;
    gram_err err;

    for (size_t i = 0; i < gr_min(n, 16); i++) {
        snprintf(name[i], sizeof name[i], "cuda:%zu", i);
        device[i] = name[i];
    }
    for (int i = 5; i < argc; i++)
        all[i] = argv[i];
    need(gr_dist_run("/proc/self/exe", all, device, n, &status, &err), &err);
    return status;
}

int main(int argc, char **argv)
{
    struct bench b = { .tokens = argc > 5 ? strtoul(argv[5], NULL, 10) : 1000,
                       .pairs = argc > 6 ? strtoul(argv[6], NULL, 10) : 8 };
    const char *device = argc > 3 && *argv[3] ? argv[3] : NULL;
    gram_err err;

    for (size_t i = 0; argc == 4 && !strcmp(argv[1], "make") && i < GR_COUNT(shapes); i++)
        if (!strcmp(argv[2], shapes[i].name))
            return make(&shapes[i], argv[3]);
    if (argc > 4 && !strcmp(argv[1], "share"))
        return share_out(argv, argc);
    if (argc > 4 && !strcmp(argv[1], "score"))
        return score(&b, argv[2], device, atof(argv[4]));
    if (argc > 4 && !strcmp(argv[1], "train")) {
        need(gr_dist_open(&b.d, NULL, NULL, &err), &err);
        return train(&b, argv[2], device, strtoul(argv[4], NULL, 10));
    }
    fputs("bench_shapes: its first lines say how it is used\n", stderr);
    return 2;
}
