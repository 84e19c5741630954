/* test_write.c - answers: greedily those of transformers, sampled ones with the same bits in every company, and their
 * ends. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/cpu.h"
#include "base/err.h"
#include "base/random.h"
#include "check.h"
#include "device.h"
#include "generate/write.h"
#include "op/op.h"

enum { NEW = 64, PROMPT = 40, CASES = 200 };

struct subject {
    gr_weights *weights;
    gr_model *model;
    gr_device *device;
    gr_work *work;
    gr_kv_tree *kv;
    gr_rows_way way;
    size_t guesses;
    bool fast, lay;
};

static struct subject subject_open_as(const char *name, gr_linear_mode mode, gr_rows_way way, size_t threads,
                                      size_t kv_bytes)
{
    struct subject s = { .way = way, .fast = mode == GR_LINEAR_INT8 };
    char dir[128];
    gr_config cfg;

    snprintf(dir, sizeof dir, "%s%s", strchr(name, '/') ? "" : "tests/golden/models/", name);
    CHECK_OK(gr_weights_open_dir(&s.weights, dir, &check_err));
    CHECK_OK(gr_config_read(&cfg, dir, &check_err));
    CHECK_OK(gr_model_open(&s.model, check_device(1), s.weights, &cfg, mode, &check_err));
    CHECK_OK(gr_device_open(&s.device, NULL, threads, &check_err));
    CHECK_OK(gr_work_open(&s.work, s.model, NULL, way, s.device, &check_err));
    CHECK_OK(gr_model_kv_open(&s.kv, s.model, s.device, kv_bytes, &check_err));
    return s;
}

static struct subject subject_open(const char *name, gr_rows_way way, size_t threads, size_t kv_bytes)
{
    return subject_open_as(name, GR_LINEAR_F32, way, threads, kv_bytes);
}

static void subject_close(struct subject *s)
{
    gr_kv_close(s->kv);
    gr_work_close(s->work);
    gr_device_close(s->device);
    gr_model_close(s->model);
    gr_weights_close(s->weights);
}

/* What became of an answer that was asked for. */
struct result {
    int32_t id[NEW];
    float raw[NEW], tempered[NEW];
    size_t n;
    gr_finish finish;
    char why[128];
};

struct run { gr_write *w; size_t steps, most_live; gr_write_counts count; };

static gram_status take(void *arg, gr_text *t, gram_err *err)
{
    struct run *run = arg;
    struct result *r = t->ask.arg;

    (void)err;
    run->most_live = gr_max(run->most_live, gr_write_live(run->w));
    if (t->finish == GR_WRITING)
        return GRAM_OK;
    r->n = t->n_answer;
    r->finish = t->finish;
    snprintf(r->why, sizeof r->why, "%.127s", t->why.text);
    assert_true(t->n_answer <= NEW);
    memcpy(r->id, t->ids.p + t->ask.prompt.n, t->n_answer * sizeof *r->id);
    memcpy(r->raw, t->raw, t->n_answer * sizeof *r->raw);
    memcpy(r->tempered, t->tempered, t->n_answer * sizeof *r->tempered);
    gr_write_end(run->w, t);
    return GRAM_OK;
}

/* All of the asks, `late` of them added only when the third step is done. */
static struct run write_all(struct subject *s, gr_ask *ask, size_t n, size_t live, size_t prefill, size_t late)
{
    struct run run = { 0 };
    bool more = true;

    CHECK_OK(gr_write_open(&run.w, &(gr_write_setup){ s->model, s->work, NULL, s->kv, live, prefill, s->guesses,
                                                      .rounded = s->fast, .one_byte = s->fast, .lay = s->lay },
                           &check_err));
    for (size_t i = 0; i + late < n; i++)
        CHECK_OK(gr_write_add(run.w, &ask[i], &(gr_text *){ NULL }, &check_err));
    for (; more; run.steps++) {
        if (run.steps == 3)
            for (size_t i = n - late; i < n; i++)
                CHECK_OK(gr_write_add(run.w, &ask[i], &(gr_text *){ NULL }, &check_err));
        CHECK_OK(gr_write_step(run.w, take, &run, &more, &check_err));
    }
    run.count = gr_write_count(run.w);
    gr_write_close(run.w);
    return run;
}

/* ---- Greedy, against transformers ---- */

struct golden { char name[32], prompt[PROMPT + 1], answer[NEW + 1]; int32_t id[PROMPT]; };

/* The gap of the two best logits after prompt and the first n tokens of the golden answer. */
static double gap_after(struct subject *s, const struct golden *g, size_t n)
{
    int32_t id[PROMPT + NEW], two[2];
    size_t len = strlen(g->prompt), V = gr_model_config(s->model)->vocabulary;
    float *z = check_fenced(V * sizeof *z);
    gr_forest f;

    for (size_t i = 0; i < len + n; i++)
        id[i] = (i < len ? g->prompt[i] : g->answer[i - len]) - 48;
    CHECK_OK(gr_forest_init(&f, &(gr_seq){ id, len + n }, 1, 0, NULL, GR_SAVE_SHARED, &check_err));
    CHECK_OK(gr_model_logits(s->work, &f, f.leaf_row, 1, z, &check_err));
    gr_forest_clear(&f, true);
    gr_likeliest(z, V, two, 2);
    return (double)z[two[0]] - z[two[1]];
}

static void greedy_answers_are_those_of_transformers(void **state)
{
    static struct golden g[CASES];
    static struct result r[CASES];
    gr_sampling greedy = gr_sampling_neutral;
    gr_stops none = { 0 };
    FILE *f = fopen("tests/golden/generate.txt", "r");
    size_t differ = 0;

    (void)state;
    assert_non_null(f);
    greedy.temperature = 0;
    for (size_t model = 0; model < 6; model++) {
        gr_ask ask[CASES];
        struct subject s;
        for (size_t i = 0; i < CASES; i++) {
            assert_int_equal(fscanf(f, "%31s %40s %64s", g[i].name, g[i].prompt, g[i].answer), 3);
            for (size_t t = 0; g[i].prompt[t]; t++)
                g[i].id[t] = g[i].prompt[t] - 48;
            ask[i] = (gr_ask){ { g[i].id, strlen(g[i].prompt) }, &greedy, &none, NEW, 0, 0, &r[i] };
        }
        s = subject_open(g[0].name, model % 2 ? GR_ROWS_FEW : GR_ROWS_ALIKE, 2, (size_t)1 << 30);
        write_all(&s, ask, CASES, 96, 2048, 0);
        for (size_t i = 0; i < CASES; i++) {
            size_t n = 0;
            assert_true(r[i].n == NEW && r[i].finish == GR_LENGTH);
            while (n < NEW && r[i].id[n] == g[i].answer[n] - 48)
                n++;
            if (n == NEW)
                continue;
            differ++;
            if (gap_after(&s, &g[i], n) > 1e-4)
                fail_msg("%s, prompt %zu: token %zu is %d, wanted %d", g[i].name, i, n, r[i].id[n],
                         g[i].answer[n] - 48);
        }
        subject_close(&s);
    }
    fclose(f);
    print_message("%zu of %d answers leave transformers' where two logits are within 1e-4\n", differ, 6 * CASES);
    assert_true(differ < 60);
}

/* ---- The same bits in every company ---- */

enum { GROUPS = 12, EACH = 8, MANY = GROUPS * EACH };
static int32_t prompt[GROUPS][PROMPT];
static const int32_t ends[] = { 3, 17 };
static gr_stops stops = { ends, 2, NULL, 0 };
static gr_sampling setting[3];

static void make_asks(gr_ask *ask, struct result *r)
{
    setting[0] = setting[1] = setting[2] = gr_sampling_neutral;
    setting[1].temperature = 0.7;
    setting[1].top_p = 0.9;
    setting[2].repetition = 1.3;
    setting[2].min_new = 5;
    for (size_t g = 0; g < GROUPS; g++)
        for (size_t t = 0; t < PROMPT; t++)
            prompt[g][t] = (int32_t)((t * t + 7 * (g / 2) + (t > 10 ? g : 0)) % 61);
    for (size_t i = 0; i < MANY; i++)
        ask[i] = (gr_ask){ { prompt[i / EACH], 5 + 3 * (i / EACH) }, &setting[i / EACH % 3], &stops, 8 + i % 50, 2,
                          i % EACH,
                           &r[i] };
}

static void expect_same_of(size_t n, size_t step, const struct result *got, const struct result *want, const char *what)
{
    for (size_t i = 0; i < n; i += step)
        if (got[i].n != want[i].n || got[i].finish != want[i].finish ||
            memcmp(got[i].id, want[i].id, want[i].n * sizeof *want->id) ||
            memcmp(got[i].raw, want[i].raw, want[i].n * sizeof *want->raw) ||
            memcmp(got[i].tempered, want[i].tempered, want[i].n * sizeof *want->tempered))
            fail_msg("answer %zu, %s: %zu tokens, alone %zu", i, what, got[i].n, want[i].n);
}

static void expect_same(const struct result *got, const struct result *want, const char *what)
{
    expect_same_of(MANY, 1, got, want, what);
}

/* Each answer written alone, one token a step; how many of them came to an end. */
static size_t write_alone(gr_rows_way way, gr_ask *ask, struct result *alone)
{
    struct subject s = subject_open("qwen3", way, 1 + CHECK_RACES, 1 << 28);
    size_t ended = 0;

    make_asks(ask, alone);
    if (CHECK_RACES)
        write_all(&s, ask, MANY, MANY, 4096, 0);
    for (size_t i = 0; i < MANY; i++) {
        if (!CHECK_RACES) {
            gr_kv_forget(s.kv);
            write_all(&s, &ask[i], 1, 1, 4096, 0);
        }
        ended += alone[i].finish == GR_STOP;
        assert_true(alone[i].finish == (alone[i].n < ask[i].max_new ? GR_STOP : alone[i].finish));
        assert_true(alone[i].finish != GR_STOP || gr_stops_at(&stops, alone[i].id[alone[i].n - 1]));
        assert_true(i / EACH % 3 != 2 || alone[i].n > 5);
    }
    subject_close(&s);
    return ended;
}

/* Weights that are laid out for many steps change no bit. Of the texts alone 96 have 310 pages of 32 KiB at most at the
 * end: what is called spent has room for some of them. */
static void an_answer_has_its_bits_in_any_company(void **state)
{
    static const struct { const char *what; size_t threads, live, prefill, late, kv, guesses; bool spent; } each[] = {
        { "96 at once", 2, 96, 4096, 0, 1 << 28, 0, false }, { "ten at once", 1, 10, 4096, 0, 1 << 28, 0, false },
        { "prompts in parts", 3, 96, 7, 0, 1 << 28, 0, false },
        { "parts and little room", 2, 9, 11, MANY / 3, 100000, 0, true },
        { "half of them late", 2, 96, 4096, MANY / 2, 1 << 28, 0, false },
        { "hardly any room for keys and values", 2, 96, 4096, 0, 40000, 0, true },
        { "room for some", 2, 96, 4096, MANY / 3, 600000, 0, true },
        { "four threads", 4, 33, 100, 9, 1 << 28, 0, false },
        { "guesses", 2, 2, 4096, 0, 1 << 28, 3, false }, { "many guesses", 2, 1, 100, 3, 1 << 28, 7, false },
        { "guesses and little room", 2, 6, 50, 9, 100000, 3, true },
    };
    static struct result alone[MANY], got[MANY];
    gr_ask ask[MANY];

    (void)state;
    for (gr_rows_way way = GR_ROWS_ALIKE; way <= GR_ROWS_FEW; way = way == GR_ROWS_ALIKE ? GR_ROWS_FEW : way + 1) {
        size_t ended = write_alone(way, ask, alone);
        assert_true(ended > MANY / 4 && ended < MANY);
        for (size_t k = 0; k < GR_COUNT(each); k++) {
            struct subject s;
            struct run run;
            if (CHECK_RACES && (k + (way == GR_ROWS_FEW)) % 2)
                continue;                                   /* each company meets in one of the two ways */
            s = subject_open("qwen3", way, each[k].threads, each[k].kv);
            s.guesses = each[k].guesses;
            s.lay = k % 2 == 0;
            make_asks(ask, got);
            for (size_t i = 0; i < MANY && s.guesses; i++)
                ask[i].top = 0;                             /* who wants rivals gets no guesses */
            memset(got, 0, sizeof got);
            run = write_all(&s, ask, MANY, each[k].live, each[k].prefill, each[k].late);
            expect_same(got, alone, each[k].what);
            assert_true(run.most_live <= each[k].live);
            assert_true(run.count.let_in == MANY + run.count.put_back);
            if ((run.count.put_back > 0) != each[k].spent || gr_kv_bytes(s.kv) > each[k].kv)
                fail_msg("%s: %llu texts had to wait again, %zu bytes of keys and values", each[k].what,
                         (unsigned long long)run.count.put_back, gr_kv_bytes(s.kv));
            if ((run.count.taken > 0) != (s.guesses > 0) || run.count.taken >= run.count.guessed + !s.guesses)
                fail_msg("%s: %llu guesses of %llu were right", each[k].what, (unsigned long long)run.count.taken,
                         (unsigned long long)run.count.guessed);
            subject_close(&s);
        }
    }
}

enum { HALF = MANY / 2, SOME = 7 };     /* answers, of which each of so many is written alone */

/* With activations of one byte and a head of 8 bits, too. */
static void a_fast_answer_has_its_bits_in_any_company(void **state)
{
    static const struct { const char *what; size_t threads, live, prefill, late, kv; } each[] = {
        { "all at once", 2, 96, 4096, 0, 1 << 28 },
        { "ten at once, and some late", 1, 10, 4096, HALF / 3, 1 << 28 },
        { "late, in parts, and little room", 2, 96, 7, HALF / 3, 400000 },
    };
    static struct result alone[MANY], got[MANY];
    struct subject lone = subject_open_as("qwen3", GR_LINEAR_INT8, GR_ROWS_ALIKE, 1 + CHECK_RACES, 1 << 28);
    gr_ask ask[MANY];

    (void)state;
    make_asks(ask, alone);
    for (size_t i = 0; i < HALF; i += SOME) {
        gr_kv_forget(lone.kv);
        write_all(&lone, &ask[i], 1, 1, 4096, 0);
    }
    subject_close(&lone);
    for (size_t k = 0; k < GR_COUNT(each); k++) {
        struct subject s = subject_open_as("qwen3", GR_LINEAR_INT8, GR_ROWS_ALIKE, each[k].threads, each[k].kv);
        s.lay = k % 2;
        make_asks(ask, got);
        memset(got, 0, sizeof got);
        write_all(&s, ask, HALF, each[k].live, each[k].prefill, each[k].late);
        expect_same_of(HALF, SOME, got, alone, each[k].what);
        subject_close(&s);
    }
}

enum { READ = 30 };             /* tokens of which the logits behind each are compared */

/* z[READ, V] after the tokens of a text; `bytes`: as it is written fast. */
static void read_text(struct subject *s, bool bytes, float *z)
{
    size_t V = gr_model_config(s->model)->vocabulary, want[READ];
    int32_t id[READ];
    const float *hidden, *all;
    gr_vocabulary *head;
    gr_forest f;

    for (size_t t = 0; t < READ; t++) {
        id[t] = (int32_t)(11 * t * t + 5) % 61;
        want[t] = t;
    }
    CHECK_OK(gr_vocabulary_open(&head, s->model, GR_ROWS_ALIKE, bytes ? GR_HEAD_ROUNDED : GR_HEAD_EXACT, s->device,
                                &check_err));
    CHECK_OK(gr_forest_init(&f, &(gr_seq){ id, READ }, 1, 0, NULL, GR_SAVE_SHARED, &check_err));
    memset(f.one_byte, bytes, READ * sizeof *f.one_byte);
    CHECK_OK(gr_model_forward(s->work, &f, want, READ, &hidden, &check_err));
    CHECK_OK(gr_vocabulary_logits(head, hidden, READ, &all, &check_err));
    memcpy(z, all, READ * V * sizeof *z);
    gr_forest_clear(&f, true);
    gr_vocabulary_close(head);
}

/* The divergence of q from p, and the variance of p's logits. */
static double divergence(const float *p, const float *q, size_t V, double *variance)
{
    double all[2] = { 0 }, mean = 0, d = 0;

    for (size_t v = 0; v < V; v++) {
        all[0] += exp(p[v]);
        all[1] += exp(q[v]);
        mean += p[v] / (double)V;
    }
    *variance = 0;
    for (size_t v = 0; v < V; v++) {
        d += exp(p[v]) / all[0] * ((p[v] - log(all[0])) - (q[v] - log(all[1])));
        *variance += (p[v] - mean) * (p[v] - mean) / (double)V;
    }
    return d;
}

/* A step of 8 bits is a 127th of a row's largest number, which is 3 to 4 times its usual one, and a rounding has the
 * spread of a step over the root of 12: 0.8 % of a number, for weights and for activations, so 1.2 % of a product. Of
 * two layers with two products in a row each and the head that makes 3 % of a logit's spread at most, and 5 % where a
 * norm or a gate makes more of it. Two distributions whose logits differ by e have a divergence of half of e's
 * variance. */
static void fast_logits_diverge_by_the_rounding_of_bytes(void **state)
{
    static const char *const name[] = { "qwen3", "llama_scaled", "gemma3" };

    (void)state;
    for (size_t k = 0; k < GR_COUNT(name); k++) {
        struct subject exact = subject_open(name[k], GR_ROWS_ALIKE, 2, 1 << 28);
        struct subject fast = subject_open_as(name[k], GR_LINEAR_INT8, GR_ROWS_ALIKE, 2, 1 << 28);
        size_t V = gr_model_config(exact.model)->vocabulary;
        float *want = check_fenced(READ * V * sizeof *want), *got = check_fenced(READ * V * sizeof *got);
        double sum = 0, bound = 0, variance;
        read_text(&exact, false, want);
        read_text(&fast, true, got);
        for (size_t t = 0; t < READ; t++) {
            sum += divergence(want + t * V, got + t * V, V, &variance);
            bound += 0.05 * 0.05 * variance / 2;
        }
        if (!(sum > 0 && sum < bound))
            fail_msg("%s: the mean divergence is %g, and at most %g is roundings", name[k], sum / READ, bound / READ);
        subject_close(&fast);
        subject_close(&exact);
    }
}

/* The log-probabilities are those of one forced pass over prompt and answer, bit for bit. */
static void check_a_forced_pass(gr_rows_way way)
{
    static struct result r[MANY];
    gr_ask ask[MANY];
    struct subject s = subject_open("llama_scaled", way, 2, 1 << 28);
    size_t V = gr_model_config(s.model)->vocabulary;
    gr_sampler sampler;
    gr_vocabulary *head;

    CHECK_OK(gr_vocabulary_open(&head, s.model, way, GR_HEAD_EXACT, s.device, &check_err));
    make_asks(ask, r);
    CHECK_OK(gr_sampler_init(&sampler, gr_kern_of(gr_cpu()), V, &check_err));
    write_all(&s, ask, MANY, 96, 4096, 0);
    for (size_t i = 0; i < MANY; i += 5) {
        int32_t id[PROMPT + NEW];
        size_t want[NEW], n = ask[i].prompt.n;
        const float *z, *hidden;
        gr_forest f;
        memcpy(id, ask[i].prompt.token, n * sizeof *id);
        memcpy(id + n, r[i].id, r[i].n * sizeof *id);
        CHECK_OK(gr_forest_init(&f, &(gr_seq){ id, n + r[i].n }, 1, 0, NULL, GR_SAVE_SHARED, &check_err));
        for (size_t t = 0; t < r[i].n; t++)
            want[t] = n - 1 + t;
        CHECK_OK(gr_model_forward(s.work, &f, want, r[i].n, &hidden, &check_err));
        CHECK_OK(gr_vocabulary_logits(head, hidden, r[i].n, &z, &check_err));
        gr_forest_clear(&f, true);
        for (size_t t = 0; t < r[i].n; t++) {
            gr_drawn d;
            CHECK_OK(gr_sample(&sampler, z + t * V, ask[i].sampling, (gr_so_far){ id, id + n, n, t }, ends, 2,
                               gr_draw_at(ask[i].seed, t), &d, &check_err));
            assert_int_equal(d.id, r[i].id[t]);
            assert_memory_equal(&d.raw, &r[i].raw[t], sizeof d.raw);
            assert_memory_equal(&d.tempered, &r[i].tempered[t], sizeof d.tempered);
        }
    }
    gr_sampler_clear(&sampler);
    gr_vocabulary_close(head);
    subject_close(&s);
}

static void log_probabilities_are_those_of_a_forced_pass(void **state)
{
    (void)state;
    check_a_forced_pass(GR_ROWS_ALIKE);
    check_a_forced_pass(GR_ROWS_FEW);
}

/* LongRoPE: each token has the log-probability of a pass over the text as long as it was then, on both sides of the
 * original context of 48 tokens. The prompts go round in a circle, so that there is much to guess. */
static void check_growth(gr_rows_way way, size_t guesses)
{
    enum { TEXTS = 6, GROWN = 30 };
    struct result r[TEXTS] = { 0 };
    gr_ask ask[TEXTS];
    int32_t id[PROMPT + NEW];
    struct subject s = subject_open("phi3_long", way, 2, 1 << 28);
    size_t V = gr_model_config(s.model)->vocabulary, far = gr_model_config(s.model)->far.after;
    gr_sampling greedy = gr_sampling_neutral;
    gr_stops none = { 0 };
    gr_sampler sampler;
    gr_vocabulary *head;

    s.guesses = guesses;
    greedy.temperature = 0;
    for (size_t t = 0; t < PROMPT; t++)
        id[t] = (int32_t)(t % 5 * 40 + 3);
    for (size_t i = 0; i < TEXTS; i++)
        ask[i] = (gr_ask){ { id, PROMPT - 2 * i }, &greedy, &none, GROWN, 0, 1, &r[i] };
    write_all(&s, ask, TEXTS, TEXTS, 4096, 2);
    CHECK_OK(gr_vocabulary_open(&head, s.model, way, GR_HEAD_EXACT, s.device, &check_err));
    CHECK_OK(gr_sampler_init(&sampler, gr_kern_of(gr_cpu()), V, &check_err));
    for (size_t i = 0; i < TEXTS; i++) {
        size_t n = ask[i].prompt.n;
        assert_true(n < far && r[i].n == GROWN && n + GROWN > far + 5);
        memcpy(id + n, r[i].id, r[i].n * sizeof *id);
        for (size_t t = 0; t < r[i].n; t++) {
            const float *z, *hidden;
            gr_drawn d;
            gr_forest f;
            CHECK_OK(gr_forest_init(&f, &(gr_seq){ id, n + t }, 1, far, NULL, GR_SAVE_SHARED, &check_err));
            CHECK_OK(gr_model_forward(s.work, &f, f.leaf_row, 1, &hidden, &check_err));
            CHECK_OK(gr_vocabulary_logits(head, hidden, 1, &z, &check_err));
            gr_forest_clear(&f, true);
            CHECK_OK(gr_sample(&sampler, z, &greedy, (gr_so_far){ id, id + n, n, t }, NULL, 0, 0, &d, &check_err));
            assert_int_equal(d.id, r[i].id[t]);
            assert_memory_equal(&d.raw, &r[i].raw[t], sizeof d.raw);
        }
        for (size_t t = n; t < PROMPT; t++)
            id[t] = (int32_t)(t % 5 * 40 + 3);
    }
    gr_sampler_clear(&sampler);
    gr_vocabulary_close(head);
    subject_close(&s);
}

static void a_text_grows_beyond_the_original_context(void **state)
{
    (void)state;
    check_growth(GR_ROWS_ALIKE, 0);
    check_growth(GR_ROWS_FEW, 0);
    check_growth(GR_ROWS_ALIKE, 3);
    check_growth(GR_ROWS_FEW, 7);
}

enum { MADE_WIDTH = 16, MADE_HIDDEN = 24, MADE_WORDS = 3 * 1536 + 7 };     /* slices of the head, and some words */

/* A folder with a Llama of one layer, whose numbers are drawn by chance. */
static char *make_model(void)
{
    static const struct { const char *name; size_t rows, cols; } t[] = {
        { "model.embed_tokens.weight", MADE_WORDS, MADE_WIDTH }, { "lm_head.weight", MADE_WORDS, MADE_WIDTH },
        { "model.norm.weight", 1, MADE_WIDTH }, { "model.layers.0.input_layernorm.weight", 1, MADE_WIDTH },
        { "model.layers.0.post_attention_layernorm.weight", 1, MADE_WIDTH },
        { "model.layers.0.self_attn.q_proj.weight", MADE_WIDTH, MADE_WIDTH },
        { "model.layers.0.self_attn.k_proj.weight", 8, MADE_WIDTH },
        { "model.layers.0.self_attn.v_proj.weight", 8, MADE_WIDTH },
        { "model.layers.0.self_attn.o_proj.weight", MADE_WIDTH, MADE_WIDTH },
        { "model.layers.0.mlp.gate_proj.weight", MADE_HIDDEN, MADE_WIDTH },
        { "model.layers.0.mlp.up_proj.weight", MADE_HIDDEN, MADE_WIDTH },
        { "model.layers.0.mlp.down_proj.weight", MADE_WIDTH, MADE_HIDDEN },
    };
    char *dir = check_tmppath("made"), path[300];
    gr_buf head = { 0 };
    size_t at = 0;
    uint64_t n, state = 9;
    FILE *f;

    assert_int_equal(mkdir(dir, 0700), 0);
    snprintf(path, sizeof path, "%s/config.json", dir);
    f = fopen(path, "w");
    fprintf(f, "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"vocab_size\":%d,"
            "\"hidden_size\":%d,\"intermediate_size\":%d,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
            "\"num_key_value_heads\":1,\"hidden_act\":\"silu\",\"max_position_embeddings\":512,\"rms_norm_eps\":1e-5,"
            "\"tie_word_embeddings\":false,\"rope_theta\":10000.0}", MADE_WORDS, MADE_WIDTH, MADE_HIDDEN);
    fclose(f);
    for (size_t i = 0; i < GR_COUNT(t); i++) {
        size_t bytes = t[i].rows * t[i].cols * sizeof(float);
        gr_buf_printf(&head, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", i ? "," : "{", t[i].name);
        gr_buf_printf(&head, t[i].rows > 1 ? "%zu,%zu" : "%.0zu%zu", t[i].rows > 1 ? t[i].rows : 0, t[i].cols);
        gr_buf_printf(&head, "],\"data_offsets\":[%zu,%zu]}", at, at + bytes);
        at += bytes;
    }
    gr_buf_puts(&head, "}");
    while (head.n % 8)
        gr_buf_puts(&head, " ");
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    f = fopen(path, "wb");
    n = head.n;
    assert_true(fwrite(&n, sizeof n, 1, f) == 1 && fwrite(head.p, head.n, 1, f) == 1);
    for (size_t i = 0; i < GR_COUNT(t); i++)
        for (size_t k = 0; k < t[i].rows * t[i].cols; k++) {
            float x = (float)(t[i].rows == 1 ? 1 : 2 * gr_random_unit(&state) - 1);
            assert_true(fwrite(&x, sizeof x, 1, f) == 1);
        }
    fclose(f);
    gr_buf_clear(&head);
    return dir;
}

/* What texts are drawn from are the model's logits, capped where it has a cap: a sum of C products in another order,
 * as many roundings apart. Of many words the head is cut into slices, and of many rows those into tiles. */
static void the_vocabulary_gives_the_models_logits(void **state)
{
    enum { LEN = 101, WAYS = 2 };
    char *made = make_model();
    const char *const name[] = { "gemma2", "gemma3", "llama_scaled", made };

    (void)state;
    for (size_t k = 0; k < WAYS * GR_COUNT(name); k++) {
        gr_rows_way way = k % WAYS ? GR_ROWS_FEW : GR_ROWS_ALIKE;
        struct subject s = subject_open(name[k / WAYS], way, 2, 1 << 28);
        size_t V = gr_model_config(s.model)->vocabulary, C = gr_model_config(s.model)->width, want[LEN];
        float *all = calloc(LEN * V, sizeof *all);
        int32_t id[LEN];
        const float *z, *hidden;
        gr_vocabulary *head;
        gr_forest f;
        for (size_t t = 0; t < LEN; t++) {
            id[t] = (int32_t)((7 * t + 3) % 61);
            want[t] = t;
        }
        CHECK_OK(gr_vocabulary_open(&head, s.model, way, GR_HEAD_EXACT, s.device, &check_err));
        CHECK_OK(gr_forest_init(&f, &(gr_seq){ id, LEN }, 1, 0, NULL, GR_SAVE_SHARED, &check_err));
        CHECK_OK(gr_model_logits(s.work, &f, want, LEN, all, &check_err));
        CHECK_OK(gr_model_forward(s.work, &f, want, LEN, &hidden, &check_err));
        CHECK_OK(gr_vocabulary_logits(head, hidden, LEN, &z, &check_err));
        CHECK_CLOSE(z, all, LEN * V, (double)C * FLT_EPSILON);
        CHECK_OK(gr_vocabulary_lay(head, &check_err));
        CHECK_OK(gr_vocabulary_logits(head, hidden, LEN, &z, &check_err));
        CHECK_CLOSE(z, all, LEN * V, (double)C * FLT_EPSILON);
        gr_forest_clear(&f, true);
        gr_vocabulary_close(head);
        free(all);
        subject_close(&s);
    }
    free(made);
}

/* ---- Ends and refusals ---- */

static void bad_asks_are_refused_and_broken_texts_end_alone(void **state)
{
    static int32_t many[513];
    static struct result r[MANY];
    gr_sampling bad = gr_sampling_neutral;
    struct subject s = subject_open("llama_mha", GR_ROWS_ALIKE, 1, 1 << 24);
    gr_ask ask[MANY];
    gr_write *w;
    gr_text *t;

    (void)state;
    make_asks(ask, r);
    bad.top_p = 2;
    CHECK_OK(gr_write_open(&w, &(gr_write_setup){ s.model, s.work, NULL, s.kv, 4, 100, 0 }, &check_err));
    assert_int_equal(gr_write_add(w, &(gr_ask){ { many, 512 }, &setting[0], &stops, 1, 0, 0, NULL }, &t, &check_err),
                     GRAM_ELIMIT);
    assert_non_null(strstr(check_err.text, "512"));
    assert_int_equal(gr_write_add(w, &(gr_ask){ { many, 0 }, &setting[0], &stops, 1, 0, 0, NULL }, &t, &check_err),
                     GRAM_EARG);
    assert_int_equal(gr_write_add(w, &(gr_ask){ { many, 5 }, &bad, &stops, 1, 0, 0, NULL }, &t, &check_err), GRAM_EARG);
    assert_int_equal(gr_write_add(w, &(gr_ask){ { many, 5 }, &setting[0], &stops, 0, 0, 0, NULL }, &t, &check_err),
                     GRAM_EARG);
    many[3] = 61;
    assert_int_equal(gr_write_add(w, &(gr_ask){ { many, 5 }, &setting[0], &stops, 1, 0, 0, NULL }, &t, &check_err),
                     GRAM_EARG);
    many[3] = 0;
    CHECK_OK(gr_write_add(w, &(gr_ask){ { many, 511 }, &setting[0], &(gr_stops){ 0 }, 9, 70, 0, &r[0] }, &t,
                          &check_err));
    assert_int_equal(t->ask.top, 61);                   /* there are no more words */
    gr_write_close(w);                                  /* a text that waits is closed with it */
    write_all(&s, &(gr_ask){ { many, 510 }, &setting[0], &(gr_stops){ 0 }, 9, 0, 0, &r[0] }, 1, 1, 100, 0);
    assert_true(r[0].n == 2 && r[0].finish == GR_LENGTH);           /* the context is full */
    subject_close(&s);
}

static void text_is_settled_in_whole_characters_and_before_stops(void **state)
{
    static const struct { const char *text; size_t settled; } each[] = {
        { "", 0 }, { "abc", 3 }, { "abc\xc3", 3 }, { "abc\xc3\xbc", 5 }, { "\xf0\x9f\x98", 0 }, { "a\xf0\x9f\x98\x80",
                                                                                                 5 },
        { "x END", 2 }, { "x EN", 2 }, { "x E", 2 }, { "x F", 3 }, { "x\n", 1 }, { "x\n\n", 1 },
    };
    static const char *const stop[] = { "END!", "\n\n\n" };
    gr_stops s = { NULL, 0, stop, 2 };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(each); i++) {
        gr_buf b = { 0 };
        assert_true(gr_buf_puts(&b, each[i].text));
        if (gr_stops_settled(&s, &b) != each[i].settled)
            fail_msg("\"%s\": %zu, wanted %zu", each[i].text, gr_stops_settled(&s, &b), each[i].settled);
        gr_buf_clear(&b);
    }
}

static void stop_strings_cut_at_the_first(void **state)
{
    static const char *const stop[] = { "cd", "bcx" };
    gr_stops s = { NULL, 0, stop, 2 };
    gr_buf b = { 0 };

    (void)state;
    assert_true(gr_buf_puts(&b, "abc"));
    assert_false(gr_stops_cut(&s, &b, 3));
    assert_true(gr_buf_puts(&b, "de"));
    assert_true(gr_stops_cut(&s, &b, 2));               /* it began in the token before */
    assert_string_equal(b.p, "ab");
    gr_buf_clear(&b);
    assert_true(gr_buf_puts(&b, "abcxcd"));             /* both are there, and the one listed last comes first */
    assert_true(gr_stops_cut(&s, &b, 6));
    assert_string_equal(b.p, "a");
    gr_buf_clear(&b);
    assert_int_equal(gr_stops_check(&(gr_stops){ NULL, 0, (const char *const[]){ "" }, 1 }, &check_err), GRAM_EARG);
    assert_int_equal(gr_stops_check(&(gr_stops){ NULL, 0, (const char *const[]){ "\xff" }, 1 }, &check_err), GRAM_EARG);
    CHECK_OK(gr_stops_check(&s, &check_err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_answers_are_those_of_transformers),
        cmocka_unit_test(an_answer_has_its_bits_in_any_company),
        cmocka_unit_test(log_probabilities_are_those_of_a_forced_pass),
        cmocka_unit_test(a_text_grows_beyond_the_original_context),
        cmocka_unit_test(a_fast_answer_has_its_bits_in_any_company),
        cmocka_unit_test(fast_logits_diverge_by_the_rounding_of_bytes),
        cmocka_unit_test(the_vocabulary_gives_the_models_logits),
        cmocka_unit_test(bad_asks_are_refused_and_broken_texts_end_alone),
        cmocka_unit_test(text_is_settled_in_whole_characters_and_before_stops),
        cmocka_unit_test(stop_strings_cut_at_the_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
