/* bench_llama_write.c - llama.cpp writing answers, for bench_generate.py: scripts/get_peers.sh compiles it.
 *
 *     bench_llama_write MODEL.gguf EACH NEW WIDTH < IDS      one line of JSON
 *
 * IDS are prompts as lines of token ids. EACH answers to each of them are written, of NEW tokens, WIDTH of them at
 * once: all prompts of a wave are read first, each once, and their keys and values shared; then each pass has a token
 * of each answer, the likeliest. What the clock counts is prompts and answers, not loading. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <llama.h>

enum { MOST = 256, LONGEST = 4096 };

struct prompt { llama_token id[LONGEST]; int n; };

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void quiet(enum ggml_log_level level, const char *text, void *arg)
{
    (void)arg;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static void die(const char *what)
{
    fprintf(stderr, "bench_llama_write: %s\n", what);
    exit(1);
}

static void add(struct llama_batch *b, llama_token id, int pos, int seq, bool logits)
{
    int i = b->n_tokens++;

    b->token[i] = id;
    b->pos[i] = pos;
    b->n_seq_id[i] = 1;
    b->seq_id[i][0] = seq;
    b->logits[i] = logits;
}

static llama_token likeliest(const float *z, int V)
{
    llama_token best = 0;

    for (llama_token v = 1; v < V; v++)
        if (z[v] > z[best])
            best = v;
    return best;
}

/* Answers first .. first + n, of which answer i is to prompt i / each. */
static void wave(struct llama_context *ctx, const struct prompt *p, int each, int first, int n, int new, int V)
{
    struct llama_batch b = llama_batch_init((int)llama_n_batch(ctx), 0, 1);
    llama_memory_t memory = llama_get_memory(ctx);
    llama_token last[MOST] = { 0 };
    int pos[MOST];

    llama_memory_clear(memory, true);
    for (int s = 0; s < n; s++) {
        const struct prompt *q = &p[(first + s) / each];
        pos[s] = q->n;
        if (s > 0 && q == &p[(first + s - 1) / each]) {         /* its first answer has read it */
            llama_memory_seq_cp(memory, s - 1, s, 0, -1);
            last[s] = last[s - 1];
            continue;
        }
        b.n_tokens = 0;
        for (int t = 0; t < q->n; t++)
            add(&b, q->id[t], t, s, t + 1 == q->n);
        if (llama_decode(ctx, b))
            die("a prompt cannot be read");
        last[s] = likeliest(llama_get_logits_ith(ctx, -1), V);
    }
    for (int k = 1; k < new; k++) {
        b.n_tokens = 0;
        for (int s = 0; s < n; s++)
            add(&b, last[s], pos[s]++, s, true);
        if (llama_decode(ctx, b))
            die("llama_decode failed");
        for (int s = 0; s < n; s++)
            last[s] = likeliest(llama_get_logits_ith(ctx, s), V);
    }
    llama_batch_free(b);
}

int main(int argc, char **argv)
{
    struct llama_model_params mp = llama_model_default_params();
    struct llama_context_params cp = llama_context_default_params();
    const char *threads = getenv("THREADS");
    struct prompt *p = calloc(MOST, sizeof *p);
    struct llama_model *model;
    struct llama_context *ctx;
    int each, new, width, prompts = 0, tokens = 0, V;
    char *line = NULL;
    size_t cap = 0;
    double t0;

    if (argc != 5 || !p || (each = atoi(argv[2])) < 1 || (new = atoi(argv[3])) < 1 || (width = atoi(argv[4])) < 1 ||
        width > MOST)
        die("MODEL.gguf EACH NEW WIDTH < IDS");
    while (prompts < MOST && getline(&line, &cap, stdin) > 0) {
        for (char *w = strtok(line, " \n"); w && p[prompts].n < LONGEST; w = strtok(NULL, " \n"))
            p[prompts].id[p[prompts].n++] = (llama_token)atoi(w);
        tokens += p[prompts].n;
        prompts++;
    }
    llama_log_set(quiet, NULL);
    llama_backend_init();
    model = llama_model_load_from_file(argv[1], mp);
    if (!model)
        die("no model");
    V = llama_vocab_n_tokens(llama_model_get_vocab(model));
    cp.n_threads = cp.n_threads_batch = threads ? atoi(threads) : 2;
    cp.n_ctx = (uint32_t)(tokens + width * (new + 32));
    cp.n_seq_max = (uint32_t)width;
    cp.kv_unified = true;               /* prompts are shared */
    ctx = llama_init_from_model(model, cp);
    if (!ctx)
        die("no context");
    t0 = now();
    for (int first = 0; first < prompts * each; first += width)
        wave(ctx, p, each, first, width < prompts * each - first ? width : prompts * each - first, new, V);
    printf("{\"answers\": %d, \"tokens\": %d, \"seconds\": %.4f}\n", prompts * each, prompts * each * new, now() - t0);
    free(line);
    free(p);
    llama_free(ctx);
    llama_model_free(model);
    return 0;
}
