/* bench_gpu_kernels.c - what a layer has between its products, on a GPU, each kernel by itself: one JSON object.
 *
 *     bench_gpu_kernels [DEVICE [SECONDS [TOKENS [TEXTS]]]]       cuda:0, 0.1 s a measurement, 16 texts of 1,000
 *
 * The shapes are those of Qwen3-1.7B. Of attention TFLOP/s: 4 D for each head, query and key that it sees, and backward
 * 10 D, which leaves out that weights are made again. Of what moves rows GB/s: each number that it must read or write
 * once. A row for each text: a query of its last position, and GB/s of its keys and values. */
#include "on_device.h"

enum { HEADS = 16, KV = 8, D = 128, G = HEADS / KV, WIDTH = 2048, HIDDEN = 6144, WORDS = 151936 };

static size_t tokens = 1000, texts = 16, rows;
static bool behind_first;

static float *floats(size_t n) { return matrix(1, n, GR_F32).p; }
static void drop(gr_mat m) { gr_device_free(device, m.p); }

static void say(const char *of, const char *unit, double number)
{
    printf("%s\n  {\"of\": \"%s\", \"%s\": %.4g}", behind_first ? "," : "", of, unit, number);
    fflush(stdout);
    behind_first = true;
}

/* ---- Attention ------------------------------------------------------------------------------------- */

struct attention { gr_attn_pass pass; gr_attn_fn *fn; size_t tasks; };

static void attend(const void *arg)
{
    const struct attention *a = arg;
    gr_lane *lane = gr_device_lane(device);
    size_t mark = gr_lane_mark(lane);

    a->fn(lane, &a->pass, 0, a->tasks);
    gr_lane_give_back(lane, mark);
}

static void *of_host(size_t n, size_t each)
{
    void *p = calloc(n, each);

    if (!p)
        exit(1);
    return p;
}

/* Runs of GR_ATTN_QUERIES of each text, whose keys are a page of its own, and which runs see which. */
static void lay_out(gr_attn_pass *a)
{
    size_t each = (tokens + GR_ATTN_QUERIES - 1) / GR_ATTN_QUERIES, n = 0, seen = 0;
    gr_attn_run *run = of_host(texts * each, sizeof *run);
    gr_attn_span *span = of_host(texts, sizeof *span);
    void **page = of_host(texts, sizeof *page);
    size_t *from = of_host(texts * each + 1, sizeof *from), *list = of_host(texts * each * each, sizeof *list);

    for (size_t i = 0; i < texts; i++) {
        span[i] = (gr_attn_span){ 0, (uint32_t)i, 0, (uint32_t)tokens };
        page[i] = matrix(tokens, 2 * KV * D, GR_BF16).p;
        for (size_t t = 0; t < tokens; t += GR_ATTN_QUERIES)
            run[n++] = (gr_attn_run){ i * tokens + t, gr_min(GR_ATTN_QUERIES, tokens - t), t, i, 1 };
    }
    for (size_t k = 0; k < n; k++) {
        for (size_t q = k; q < n && q / each == k / each; q++)
            list[seen++] = q;
        from[k + 1] = seen;
    }
    a->run = a->key_run = run;
    a->runs = a->key_runs = n;
    a->span = span;
    a->store[0] = a->store[1] = (gr_attn_store){ page, 0, KV * D, 2 * KV * D };
    a->seen_from = from;
    a->seen = list;
}

static void attention(const struct gr_kern *op)
{
    struct attention a = { .pass = { .shape = { D, G, 0, 0.088f, 0 }, .kv_heads = KV, .lse_rows = rows } };
    gr_attn_run *last = of_host(texts, sizeof *last);
    double pairs = (double)texts * (double)tokens * (double)(tokens + 1) / 2, flops = 4e-12 * HEADS * D * pairs, t;

    lay_out(&a.pass);
    a.pass.q = matrix(rows, HEADS * D, GR_BF16);
    a.pass.o = matrix(rows, HEADS * D, GR_BF16);
    a.pass.dout = matrix(rows, HEADS * D, GR_BF16);
    a.pass.dq = matrix(rows, HEADS * D, GR_BF16);
    a.pass.k = matrix(rows, KV * D, GR_BF16);
    a.pass.v = matrix(rows, KV * D, GR_BF16);
    a.pass.dk = matrix(rows, KV * D, GR_BF16);
    a.pass.dv = matrix(rows, KV * D, GR_BF16);
    a.pass.lse = floats(rows * HEADS);
    a.pass.delta = floats(rows * HEADS);
    a.tasks = a.pass.runs * KV;
    a.fn = op->attn_fwd;
    say("attention forward", "tflops", flops / seconds(attend, &a));
    a.fn = op->attn_dq;
    t = seconds(attend, &a);
    a.fn = op->attn_dkv;
    say("attention backward", "tflops", 2.5 * flops / (t + seconds(attend, &a)));
    for (size_t i = 0; i < texts; i++)
        last[i] = (gr_attn_run){ i, 1, tokens - 1, i, 1 };
    a.pass.run = last;
    a.pass.runs = texts;
    a.tasks = texts * KV;
    a.fn = op->attn_fwd;
    say("attention of a token that is written", "gb_s", 4e-9 * KV * D * (double)rows / seconds(attend, &a));
}

/* ---- Rows ------------------------------------------------------------------------------------------ */

struct call { gr_mat a, b, c, d, e; float *r, *w; const struct gr_kern *op; gr_adamw_slice slice; int32_t *list; };

static void add_norm(const void *arg)
{
    const struct call *c = arg;

    c->op->add_norm(gr_device_lane(device), c->c, c->r, c->a, c->a, c->b, &(gr_norm){ c->w, 0, 1e-6f, WIDTH }, rows);
}

static void norm_bwd(const void *arg)
{
    const struct call *c = arg;

    c->op->rmsnorm_bwd(gr_device_lane(device), c->d, c->w, c->c, c->a, c->r, &(gr_norm){ c->w, 0, 1e-6f, WIDTH }, rows,
                       true);
}

static void turn(const void *arg)
{
    const struct call *c = arg;
    gr_lane *lane = gr_device_lane(device);
    size_t mark = gr_lane_mark(lane);
    gr_heads h = { { c->w, 0, 1e-6f, D }, NULL, c->r, c->list, HEADS, D, D, false };

    c->op->heads_fwd(lane, c->c, c->c, &h, rows);
    gr_lane_give_back(lane, mark);
}

static void unit(const void *arg)
{
    const struct call *c = arg;

    c->op->swiglu_fwd(gr_device_lane(device), c->c, c->a, c->b, rows, HIDDEN);
}

static void unit_bwd(const void *arg)
{
    const struct call *c = arg;

    c->op->swiglu_bwd(gr_device_lane(device), c->d, c->e, c->c, c->a, c->b, rows, HIDDEN);
}

static void step(const void *arg)
{
    const struct call *c = arg;
    gr_lane *lane = gr_device_lane(device);
    size_t mark = gr_lane_mark(lane);

    c->op->adamw_slices(lane, &c->slice, 1);
    gr_lane_give_back(lane, mark);
}

struct loss { gr_mat z; int32_t *t; float *wt; double *loss; gr_ce_sum *sum; size_t n; const struct gr_kern *op; };

/* It waits: what comes to the host has room for some calls alone. */
static void cross_entropy(const void *arg)
{
    const struct loss *l = arg;
    gr_lane *lane = gr_device_lane(device);
    size_t mark = gr_lane_mark(lane);

    l->op->ce(lane, l->z, l->t, l->wt, l->loss, l->sum, l->n, WORDS);
    gr_lane_give_back(lane, mark);
    wait();
}

static void losses(const struct gr_kern *op)
{
    size_t n = gr_min(rows, 256);
    struct loss l = { matrix(n, WORDS, GR_F32), of_host(n, sizeof(int32_t)), of_host(n, sizeof(float)),
                      of_host(n, sizeof(double)), of_host(n, sizeof(gr_ce_sum)), n, op };

    for (size_t i = 0; i < n; i++)
        l.wt[i] = 1;
    say("cross-entropy and its slope", "gb_s", 8e-9 * (double)n * WORDS / seconds(cross_entropy, &l));
}

static double gb_s(double bytes, void (*fn)(const void *), const struct call *c)
{
    return 1e-9 * bytes / seconds(fn, c);
}

static void rows_of_a_layer(const struct gr_kern *op)
{
    double n = (double)rows * WIDTH, hidden = (double)rows * HIDDEN;
    struct call c = { matrix(rows, WIDTH, GR_F32), matrix(rows, WIDTH, GR_BF16), matrix(rows, WIDTH, GR_BF16),
                      matrix(rows, WIDTH, GR_F32), { 0 }, floats(gr_max(rows, tokens * D)), floats(WIDTH), op, { 0 },
                      of_host(rows, sizeof(int32_t)) };

    say("sum and norm", "gb_s", gb_s(12 * n, add_norm, &c));
    say("norm backward", "gb_s", gb_s(14 * n, norm_bwd, &c));
    for (size_t i = 0; i < rows; i++)
        c.list[i] = (int32_t)(i % tokens);
    say("heads' norm and rope", "gb_s", gb_s(4 * n, turn, &c));
    drop(c.a);
    drop(c.b);
    drop(c.c);
    drop(c.d);
    c.a = matrix(rows, HIDDEN, GR_BF16);
    c.b = matrix(rows, HIDDEN, GR_BF16);
    c.c = matrix(rows, HIDDEN, GR_BF16);
    c.d = matrix(rows, HIDDEN, GR_BF16);
    c.e = matrix(rows, HIDDEN, GR_BF16);
    say("SwiGLU", "gb_s", gb_s(6 * hidden, unit, &c));
    say("SwiGLU backward", "gb_s", gb_s(10 * hidden, unit_bwd, &c));
    c.slice = (gr_adamw_slice){ floats(rows * WIDTH), floats(rows * WIDTH), floats(rows * WIDTH), GR_F32, GR_F32,
                                floats(rows * WIDTH), rows * WIDTH, { 1, 0.1f, 0.99f, 0.01f, 1e-8f, 1, 1e-3f, 1 },
                                { 0, 0 }, 0 };
    say("AdamW", "gb_s", gb_s(28 * n, step, &c));
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "cuda:0";
    gram_err err;

    limit = argc > 2 ? atof(argv[2]) : 0.1;
    tokens = argc > 3 ? strtoul(argv[3], NULL, 10) : tokens;
    texts = argc > 4 ? strtoul(argv[4], NULL, 10) : texts;
    if (tokens == 0 || texts == 0) {
        fputs("bench_gpu_kernels [DEVICE [SECONDS [TOKENS [TEXTS]]]]\n", stderr);
        return 2;
    }
    rows = tokens * texts;
    check(gr_device_open(&device, name, 0, &err), &err);
    printf("{\"device\": \"%s\", \"kernels\": [", name);
    attention(gr_device_op(device));
    rows_of_a_layer(gr_device_op(device));
    losses(gr_device_op(device));
    printf("\n]}\n");
    wait();
    return 0;
}
