/* test_rationale.c - a model that judges by written reasons: the same reasons and bits in any company, from text that
 * was stored, over files that are resumed; and what it refuses. */
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "check.h"
#include "gram/generate.h"
#include "gram/rationale.h"
#include "gram/selftrain.h"
#include "gram/train.h"
#include "letters.h"
#include "nomem_json.h"

/* The tiny model has letters, spaces and dots alone. */
#define FORMAT "{\"opening\":\"Why \",\"closing\":\".\",\"cue\":\" Then \",\"ending\":\".\"}"

/* The same with words of its own to ask for it. */
#define ASKING "{\"prompt\":\"{input} {response_a} {response_b}\",\"opening\":\"Why \",\"closing\":\".\"," \
               "\"cue\":\" Then \",\"ending\":\".\"}"

static gram_model *model;
static gram_rationale_options opt;

static int set_up(void **state)
{
    const gram_options o = { .threads = 2, .judge_prompt = "{input}\n{response_a}\n{response_b}\n" };
    char *dir = check_tmpdir();

    (void)state;
    json_set_alloc_funcs(json_take, json_give);
    letters_model(dir);
    CHECK_OK(gram_open(&model, dir, &o, &check_err));
    gram_rationale_options_init(&opt);
    opt.format = FORMAT;
    opt.votes = 6;
    opt.max_tokens = 20;
    opt.products = GRAM_PRODUCTS_FEW;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    gram_close(model);
    return 0;
}

enum { PAIRS = 5 };
static const gram_message ask[PAIRS] = { { "user", "one two", NULL }, { "user", "one three", NULL },
                                         { "user", "x", NULL }, { "user", "a much longer question than the others",
                                                                 NULL },
                                         { "user", "Zebra", NULL } };

static gram_pair pair_at(size_t i)
{
    static const char *const answer[] = { "yes", "no", "Why yes", "never. Then A.", "maybe so" };

    return (gram_pair){ { &ask[i], 1, NULL }, answer[i], answer[(i + 1) % PAIRS], NULL, NULL };
}

static gram_reasoner *open_reasoner(const gram_rationale_options *o)
{
    gram_reasoner *r;

    CHECK_OK(gram_reasoner_open(&r, model, o, &check_err));
    return r;
}

static void reason_all(gram_reasoner *r, gram_reasoned v[PAIRS])
{
    gram_pair p[PAIRS];
    size_t bad;

    for (size_t i = 0; i < PAIRS; i++)
        p[i] = pair_at(i);
    CHECK_OK(gram_reason(r, p, PAIRS, v, &bad, &check_err));
}

static void same(const gram_reasoned *a, const gram_reasoned *b)
{
    assert_int_equal(a->n, b->n);
    for (size_t j = 0; j < a->n; j++) {
        assert_string_equal(a->rationale[j].text, b->rationale[j].text);
        assert_memory_equal(a->rationale[j].logit, b->rationale[j].logit, sizeof a->rationale[j].logit);
        assert_true(a->rationale[j].p == b->rationale[j].p);
    }
    assert_true(a->verdict.preference == b->verdict.preference);
}

static void same_alone(void **state)
{
    gram_reasoner *r = open_reasoner(&opt), *other;
    gram_reasoned v[PAIRS], one;
    gram_rationale_options few = opt;
    bool differ = false;
    (void)state;

    reason_all(r, v);
    other = open_reasoner(&opt);
    for (size_t i = PAIRS; i-- > 0; ) {
        gram_pair p = pair_at(i);
        size_t bad;
        CHECK_OK(gram_reason(other, &p, 1, &one, &bad, &check_err));
        same(&v[i], &one);
        gram_reasoned_clear(&one);
        differ = differ || strcmp(v[i].rationale[0].text, v[i].rationale[2].text);
    }
    assert_true(differ);
    gram_reasoner_close(other);
    few.votes = 2;                                      /* fewer votes are the first of more */
    other = open_reasoner(&few);
    for (size_t i = 0; i < PAIRS; i++) {
        gram_pair p = pair_at(i);
        size_t bad;
        CHECK_OK(gram_reason(other, &p, 1, &one, &bad, &check_err));
        for (size_t j = 0; j < 2; j++)
            assert_string_equal(one.rationale[j].text, v[i].rationale[j].text);
        gram_reasoned_clear(&one);
    }
    gram_reasoner_close(other);
    gram_reasoner_close(r);
    for (size_t i = 0; i < PAIRS; i++)
        gram_reasoned_clear(&v[i]);
}

static void stored_scores_again(void **state)
{
    gram_reasoner *r = open_reasoner(&opt);
    gram_reasoned v[PAIRS];
    size_t closed = 0;
    (void)state;

    reason_all(r, v);
    for (size_t i = 0; i < PAIRS; i++)
        for (size_t j = 0; j < v[i].n; j++) {
            const gram_rationale *was = &v[i].rationale[j];
            gram_pair p = pair_at(i);
            gram_rationale now;
            CHECK_OK(gram_rationale_read(r, &p, was->swapped, was->text, &now, &check_err));
            assert_memory_equal(now.logit, was->logit, sizeof now.logit);
            free(now.text);
            closed += was->status == GRAM_RATIONALE_CLOSED;
            assert_true(was->tokens <= 20 && was->p >= 0 && was->p <= 1);
        }
    assert_true(closed > 0 && closed < PAIRS * 6);      /* both happen */
    gram_pair p = pair_at(0);
    gram_rationale none;
    char *text;
    int label;
    assert_int_equal(gram_rationale_read(r, &p, false, NULL, &none, &check_err), GRAM_EARG);
    assert_int_equal(gram_rationale_parse("gram-r2", NULL, &text, &label, &check_err), GRAM_EARG);
    gram_reasoner_close(r);
    for (size_t i = 0; i < PAIRS; i++)
        gram_reasoned_clear(&v[i]);
}

/* The verdict is the labels' logits behind the text as gram_label_logits() gives them. */
static void verdict_is_the_labels(void **state)
{
    gram_reasoner *r = open_reasoner(&opt);
    gram_pair p = pair_at(0);
    gram_reasoned v;
    gram_tokenizer *t;
    char *shown, *dir = check_tmpdir();
    gr_buf b = { 0 };
    int32_t *id, label[2];
    size_t n, bad, one;
    float z[2];
    (void)state;

    letters_model(dir);
    CHECK_OK(gram_tokenizer_open(&t, dir, &check_err));
    CHECK_OK(gram_reason(r, &p, 1, &v, &bad, &check_err));
    CHECK_OK(gram_reason_show(r, &p, true, &shown, &check_err));
    gr_buf_printf(&b, "%s%s. Then ", shown, v.rationale[1].text);
    CHECK_OK(gram_tokenize(t, b.p, b.n, true, &id, &n, &check_err));
    for (int k = 0; k < 2; k++) {
        int32_t *l;
        CHECK_OK(gram_tokenize(t, k ? "B" : "A", 1, false, &l, &one, &check_err));
        assert_int_equal(one, 1);
        label[k] = *l;
        free(l);
    }
    CHECK_OK(gram_label_logits(model, (const int32_t *const[]){ id }, &n, 1, label, 2, z, NULL, &check_err));
    assert_memory_equal(z, v.rationale[1].logit, sizeof z);
    assert_true(v.rationale[1].swapped && fabs(v.rationale[1].p - 1 / (1 + exp((double)z[0] - z[1]))) < 1e-12);
    gram_reasoned_clear(&v);
    gram_tokenizer_close(t);
    gram_reasoner_close(r);
    gr_buf_clear(&b);
    free(shown);
    free(id);
}

/* ---- Token by token ------------------------------------------------------------------------------- */

struct parts { gr_buf text[6]; size_t ended; };

static gram_status add_part(void *arg, const gram_reasoning_part *p, gram_err *err)
{
    struct parts *all = arg;

    assert_true(p->index < 6 && p->swapped == (p->index % 2 == 1));
    all->ended += p->ended;
    return gr_buf_add(&all->text[p->index], p->more, p->bytes) ? GRAM_OK : gr_nomem(err, "parts");
}

/* Whether some rationale goes on. */
static bool go_on(gram_reasoning *g, struct parts *parts)
{
    bool more, others;

    CHECK_OK(gram_reasoning_write(g, add_part, parts, &more, &check_err));
    if (more)
        return true;
    CHECK_OK(gram_reasoning_read(g, &others, &check_err));
    return others;
}

static gram_status drop_token(void *arg, const gram_written *t, gram_err *err)
{
    (void)arg, (void)t, (void)err;
    return GRAM_OK;
}

/* All pairs side by side, with a chat and with scores in between: the texts and bits of gram_reason(). */
static void in_steps(void **state)
{
    gram_reasoner *r = open_reasoner(&opt);
    gram_reasoned v[PAIRS];
    gram_reasoning *g[PAIRS];
    struct parts parts[PAIRS] = { 0 };
    bool live[PAIRS];
    size_t left = PAIRS;
    gram_generation how;
    gram_writer *chat;
    (void)state;

    gram_generation_init(&how);
    how.max_new_tokens = 200;
    CHECK_OK(gram_writer_open(&chat, model, &(gram_writing){ .prompt = { &ask[0], 1, NULL }, .how = &how },
                              &check_err));
    reason_all(r, v);
    for (size_t i = 0; i < PAIRS; i++) {
        const gram_pair p = pair_at(i);
        CHECK_OK(gram_reasoning_open(&g[i], r, &p, &check_err));
        live[i] = true;
    }
    while (left > 0) {
        gram_pair p = pair_at(left - 1);
        gram_verdict score;
        bool more;
        CHECK_OK(gram_writer_next(chat, drop_token, NULL, &more, &check_err));
        CHECK_OK(gram_score(model, &p, 1, &score, &check_err));
        for (size_t i = 0; i < PAIRS; i++)
            if (live[i] && !(live[i] = go_on(g[i], &parts[i])))
                left--;
    }
    for (size_t i = 0; i < PAIRS; i++) {
        const gram_reasoned *now = gram_reasoning_verdict(g[i]);
        same(&v[i], now);
        assert_int_equal(now->written, v[i].written);
        assert_int_equal(now->verdict.tokens, v[i].verdict.tokens);
        assert_int_equal(now->forced, v[i].forced);
        assert_int_equal(parts[i].ended, v[i].n);
        for (size_t j = 0; j < v[i].n; j++)             /* less the white space around it */
            assert_non_null(strstr(parts[i].text[j].p ? parts[i].text[j].p : "", v[i].rationale[j].text));
        for (size_t j = 0; j < 6; j++)
            gr_buf_clear(&parts[i].text[j]);
        gram_reasoning_close(g[i]);
        gram_reasoned_clear(&v[i]);
    }
    gram_writer_close(chat);
    gram_reasoner_close(r);
}

/* The first one is always sure enough, and never. Equal answers have no rationales. */
static void in_steps_early(void **state)
{
    gram_rationale_options o = opt;
    gram_pair p = pair_at(0);
    gram_reasoning *g;
    gram_reasoner *r;
    (void)state;

    for (int never = 0; never < 2; never++) {
        o.early = 1 + (size_t)never;
        o.sure = never ? 1 : 0.5;
        r = open_reasoner(&o);
        for (size_t i = 0; i < PAIRS; i++) {
            struct parts parts = { 0 };
            gram_reasoned v;
            size_t bad;
            p = pair_at(i);
            p.b = i == 3 ? p.a : p.b;
            CHECK_OK(gram_reason(r, &p, 1, &v, &bad, &check_err));
            CHECK_OK(gram_reasoning_open(&g, r, &p, &check_err));
            while (go_on(g, &parts))
                ;
            same(&v, gram_reasoning_verdict(g));
            assert_int_equal(gram_reasoning_verdict(g)->n, i == 3 ? 0 : never ? 6 : 1);
            assert_int_equal(gram_reasoning_verdict(g)->early, v.early);
            gram_reasoning_close(g);
            gram_reasoned_clear(&v);
            for (size_t j = 0; j < 6; j++)
                gr_buf_clear(&parts.text[j]);
        }
        gram_reasoner_close(r);
    }
    o.products = GRAM_PRODUCTS_TILES;
    r = open_reasoner(&o);
    assert_int_equal(gram_reasoning_open(&g, r, &p, &check_err), GRAM_EARG);
    assert_null(g);
    gram_reasoner_close(r);
}

/* The object is what `gram score` writes beside a verdict. */
static void as_json(void **state)
{
    gram_reasoner *r = open_reasoner(&opt);
    gram_pair p = pair_at(0);
    gram_reasoned v;
    size_t bad;
    char *text;
    json_t *o;
    (void)state;

    CHECK_OK(gram_reason(r, &p, 1, &v, &bad, &check_err));
    text = gram_reasoned_json(&v, 7);
    o = json_loads(text, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(o, "seed")), 7);
    assert_int_equal(json_array_size(json_object_get(o, "orders")), 2);
    assert_string_equal(json_string_value(json_array_get(json_object_get(json_array_get(json_object_get(o, "orders"),
                                                                                        1),
                                                                         "rationale"), 0)), v.rationale[1].text);
    json_decref(o);
    free(text);
    gram_reasoned_clear(&v);
    gram_reasoner_close(r);
}

static int count_compared(void *arg, size_t i, size_t j, const gram_reasoned *v)
{
    assert_true(i < 4 && j < 4 && (v->n == 6 || v->n == 0));
    ++*(size_t *)arg;
    return 0;
}

static void ranks(void **state)
{
    static const char *const response[] = { "yes", "no", "maybe", "never" };
    gram_reasoner *r = open_reasoner(&opt);
    gram_ranking out;
    size_t compared = 0;
    (void)state;

    CHECK_OK(gram_reason_rank(r, (gram_prompt){ &ask[0], 1, NULL }, response, 4, GRAM_RANK_ALL_PAIRS, NULL,
                              count_compared, &compared, &out, &check_err));
    assert_int_equal(compared, 6);
    assert_int_equal(out.comparisons, 6);
    assert_int_equal(out.passes, 36);
    gram_ranking_clear(&out);
    gram_reasoner_close(r);
}

/* What a ranking of two says of the one in this place. */
static double chance(gram_model *m, gram_prompt prompt, const char *const *two, size_t place)
{
    gram_ranking out;
    double p;

    CHECK_OK(gram_rank(m, prompt, two, 2, GRAM_RANK_ALL_PAIRS, NULL, &out, &check_err));
    assert_int_equal(out.passes, 1);
    p = out.preference[2 * place + 1 - place];
    gram_ranking_clear(&out);
    return p;
}

/* seats[k]: how often the response in place k is read first. */
static int count_seats(void *arg, size_t i, size_t j, const gram_reasoned *v)
{
    size_t *seats = arg;

    for (size_t k = 0; k < v->n; k++)
        seats[v->rationale[k].swapped ? j : i]++;
    return 0;
}

/* The same of three rationales; the one in this place alone. */
static size_t seats_of(gram_reasoner *r, gram_prompt prompt, const char *const *two, size_t place)
{
    size_t seats[2] = { 0 };
    gram_ranking out;

    CHECK_OK(gram_reason_rank(r, prompt, two, 2, GRAM_RANK_ALL_PAIRS, NULL, count_seats, seats, &out, &check_err));
    assert_int_equal(seats[0] + seats[1], 3);
    gram_ranking_clear(&out);
    return seats[place];
}

/* Who of two has the first seat more often is no matter of place: with the other first in the list, the same one has
 * it. In a good part of the groups either has. */
static void no_place_has_the_first_seat(void **state)
{
    const gram_options single = { .threads = 2, .judge_prompt = "{input}\n{response_a}\n{response_b}\n",
                                  .single_order = true };
    static const char *const two[] = { "yes", "no" }, *const back[] = { "no", "yes" };
    enum { GROUPS = 24 };
    gram_rationale_options how = opt;
    gram_reasoner *r;
    gram_model *m;
    size_t first = 0, seats[4] = { 0 };
    (void)state;

    how.votes = 3;
    how.max_tokens = 4;
    r = open_reasoner(&how);
    CHECK_OK(gram_open(&m, check_tmpdir(), &single, &check_err));
    for (int i = 0; i < GROUPS; i++) {
        char question[16];
        const gram_message turn = { .role = "user", .content = question };
        const gram_prompt prompt = { .turn = &turn, .n = 1 };
        gram_pair pair = { .prompt = prompt, .a = two[0], .b = two[1] };
        gram_verdict v;
        double once;
        snprintf(question, sizeof question, "q %d", i);
        once = chance(m, prompt, two, 0);
        CHECK_NEAR(once, chance(m, prompt, back, 1), 1e-12);
        assert_int_equal(seats_of(r, prompt, two, 0), seats_of(r, prompt, back, 1));
        seats[seats_of(r, prompt, two, 0)]++;
        CHECK_OK(gram_score(m, &pair, 1, &v, &check_err));
        assert_true(isnan(v.p_swapped));
        first += once == v.preference;                  /* "yes" was read first */
        pair.turned = true;
        CHECK_OK(gram_score(m, &pair, 1, &v, &check_err));
        assert_true(isnan(v.p_forward) && v.preference == v.p_swapped);
        first += GROUPS * (once == v.preference);
    }
    assert_int_equal(first % GROUPS + first / GROUPS, GROUPS);
    assert_true(first / GROUPS >= GROUPS / 4 && first % GROUPS >= GROUPS / 4);
    assert_true(seats[1] >= GROUPS / 4 && seats[2] == GROUPS - seats[1]);
    gram_close(m);
    gram_reasoner_close(r);
}

static char *slurp(const char *path)
{
    gr_buf b = { 0 };
    char part[4096];
    size_t n;
    FILE *f = fopen(path, "rb");

    assert_non_null(f);
    while ((n = fread(part, 1, sizeof part, f)))
        gr_buf_add(&b, part, n);
    fclose(f);
    return b.p;
}

static int stop_after_one(void *arg, uint64_t done, uint64_t total)
{
    (void)done, (void)total;
    return ++*(int *)arg >= 1;
}

static void files_resume(void **state)
{
    char *in, *whole = check_tmppath("whole.jsonl"), *cut = check_tmppath("cut.jsonl"), *a, *b;
    int calls = 0;
    gram_file_options o = { .rationale = &opt };
    gram_file_report report;
    gr_buf rows = { 0 };
    json_t *line;
    (void)state;

    for (int i = 0; i < 300; i++)
        gr_buf_printf(&rows, "{\"id\":\"r%d\",\"prompt\":\"q %c\",\"chosen\":\"%c\",\"rejected\":\"%c\"}\n", i,
                      'a' + i % 26,
                      'a' + i / 26, 'A' + i % 7);
    in = check_write("rows.jsonl", rows.p);
    opt.votes = 2;
    opt.max_tokens = 3;
    CHECK_OK(gram_score_file(model, in, whole, &o, &report, &check_err));
    assert_int_equal(report.rows, 300);
    o.progress = stop_after_one;
    o.arg = &calls;
    assert_int_equal(gram_score_file(model, in, cut, &o, &report, &check_err), GRAM_ESTOPPED);
    o.progress = NULL;
    o.resume = true;
    CHECK_OK(gram_score_file(model, in, cut, &o, &report, &check_err));
    assert_true(report.resumed > 0 && report.resumed < 300);
    a = slurp(whole);
    b = slurp(cut);
    assert_string_equal(a, b);
    line = json_loads(a, JSON_DISABLE_EOF_CHECK, NULL);
    assert_int_equal(json_array_size(json_object_get(line, "orders")), 2);
    assert_int_equal(json_integer_value(json_object_get(line, "unparsed")), 0);
    json_decref(line);
    opt.votes = 6;
    opt.max_tokens = 20;
    gr_buf_clear(&rows);
    free(a), free(b), free(in), free(whole), free(cut);
}

/* The lines that an evaluation writes of `in`. */
static json_t *eval_rows(gram_model *m, const char *in, const gram_rationale_options *how)
{
    char *rows = check_tmppath("eval.rows.jsonl"), *table;
    gram_eval_options o = { .rows = rows, .file = { .rationale = how } };
    json_t *all = json_array(), *row;
    FILE *f;

    CHECK_OK(gram_eval(m, (const char *const[]){ in }, 1, &o, NULL, &table, &check_err));
    f = fopen(rows, "r");
    assert_non_null(f);
    while ((row = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)))
        json_array_append_new(all, row);
    fclose(f);
    free(rows), free(table);
    return all;
}

/* What was read of each row once is one of its two orders, and of a good part of the rows either. */
static void expect_either(json_t *once, json_t *both)
{
    size_t turned = 0, n = json_array_size(both);

    assert_int_equal(json_array_size(once), n);
    for (size_t i = 0; i < n; i++) {
        json_t *a = json_array_get(once, i), *b = json_array_get(both, i);
        bool second = json_is_null(json_object_get(a, "p_forward"));
        const char *key = second ? "p_swapped" : "p_forward";
        double p = json_number_value(json_object_get(a, key));
        assert_true(json_is_null(json_object_get(a, second ? "p_forward" : "p_swapped")));
        CHECK_NEAR(p, json_number_value(json_object_get(b, key)), 1e-12);
        assert_true(p == json_number_value(json_object_get(a, "preference")));
        turned += second;
    }
    assert_true(turned >= n / 4 && turned <= n - n / 4);
    json_decref(once);
}

/* The better answer of a row is read first in half of the rows, where it is read in one order alone. */
static void one_order_is_either(void **state)
{
    const gram_options single = { .threads = 2, .judge_prompt = "{input}\n{response_a}\n{response_b}\n",
                                  .single_order = true };
    gram_rationale_options how = opt;
    char *in;
    gram_model *m;
    gr_buf rows = { 0 };
    json_t *both;
    (void)state;

    for (int i = 0; i < 40; i++)
        gr_buf_printf(&rows, "{\"prompt\":\"q %c %d\",\"chosen\":\"yes\",\"rejected\":\"no\"}\n", 'a' + i % 26, i);
    in = check_write("either.jsonl", rows.p);
    both = eval_rows(model, in, NULL);
    CHECK_OK(gram_open(&m, check_tmpdir(), &single, &check_err));
    expect_either(eval_rows(m, in, NULL), both);
    gram_close(m);
    json_decref(both);
    how.max_tokens = 4;
    how.votes = 2;                                      /* one vote is the first of an order */
    both = eval_rows(model, in, &how);
    how.votes = 1;
    expect_either(eval_rows(model, in, &how), both);
    json_decref(both);
    gr_buf_clear(&rows);
    free(in);
}

static void refuses(void **state)
{
    static const struct { gram_rationale_options o; const char *say; } bad[] = {
        { { .votes = 0, .max_tokens = 9, .temperature = 1, .top_p = 1, .sure = 0.9 }, "votes: wanted 1 to 1024, found "
                                                                                      "0" },
        { { .votes = 2, .max_tokens = 0, .temperature = 1, .top_p = 1, .sure = 0.9 }, "max_tokens: wanted 1" },
        { { .votes = 2, .max_tokens = 100000, .temperature = 1, .top_p = 1, .sure = 0.9, .format = FORMAT },
          "leaves no room" },
        { { .votes = 2, .max_tokens = 9, .temperature = -1, .top_p = 1, .sure = 0.9 }, "temperature" },
        { { .votes = 2, .max_tokens = 9, .temperature = 1, .top_p = 1, .sure = 0.9, .format = ASKING },
          "another judge prompt" },
        { { .votes = 3, .max_tokens = 9, .temperature = 0, .top_p = 1, .sure = 0.9 }, "votes: with temperature 0" },
        { { .votes = 2, .max_tokens = 9, .temperature = 1, .top_p = 1, .top_k = 1, .sure = 0.9, .single_order = true },
          "wanted at most 1" },
        { { .votes = 2, .max_tokens = 9, .temperature = 1, .top_p = 1, .sure = 0.4 }, "sure: wanted" },
        { { .votes = 2, .max_tokens = 9, .temperature = 1, .top_p = 1, .sure = 0.9, .early = 3 }, "early: 3 is more" },
        { { .votes = 2, .max_tokens = 9, .temperature = 1, .top_p = 1, .sure = 0.9, .prompt = "{input}" },
         "judge prompt" },
    };
    gram_reasoner *r;
    (void)state;

    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        assert_int_equal(gram_reasoner_open(&r, model, &bad[i].o, &check_err), GRAM_EARG);
        assert_null(r);
        if (!strstr(check_err.text, bad[i].say))
            fail_msg("said \"%s\", wanted \"%s\"", check_err.text, bad[i].say);
    }
}

/* The log-probability of text behind a conversation's one turn, by a pass for each token. */
static double forced(gram_tokenizer *t, const char *turn, const char *text)
{
    const gram_message q = { "user", turn, NULL };
    char *chat;
    gr_buf b = { 0 };
    int32_t *head, *all;
    size_t n_head, n;
    double ll = 0;

    CHECK_OK(gram_show_chat(model, (gram_prompt){ &q, 1, NULL }, &chat, &check_err));
    CHECK_OK(gram_tokenize(t, chat, strlen(chat), true, &head, &n_head, &check_err));
    gr_buf_printf(&b, "%s%s", chat, text);
    CHECK_OK(gram_tokenize(t, b.p, b.n, true, &all, &n, &check_err));
    for (size_t i = n_head; i < n; i++) {
        float z, log_sum;
        CHECK_OK(gram_label_logits(model, (const int32_t *const[]){ all }, &i, 1, &all[i], 1, &z, &log_sum,
                                   &check_err));
        ll += z - log_sum;
    }
    free(chat), free(head), free(all);
    gr_buf_clear(&b);
    return ll;
}

/* Both sums against their definition, of proofs that ran into their length and whose text has their very tokens. */
static void proofs_are_scored_by_definition(void **state)
{
    gram_prove_options o;
    char *dir = check_tmpdir(), *rows = check_write("prove.jsonl", "{\"prompt\":\"q\",\"chosen\":\"yes\","
                                                                   "\"rejected\":\"no\"}\n"),
         *out = check_tmppath("proofs.jsonl"), *text;
    gram_tokenizer *t;
    size_t checked = 0;
    json_t *line, *proof;
    size_t i;
    (void)state;

    letters_model(dir);
    CHECK_OK(gram_tokenizer_open(&t, dir, &check_err));
    gram_prove_options_init(&o);
    o.format = FORMAT;
    o.k = 40;
    o.max_tokens = 3;
    o.products = GRAM_PRODUCTS_FEW;
    CHECK_OK(gram_prove_file(model, rows, out, &o, NULL, NULL, &check_err));
    text = slurp(out);
    line = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
    json_array_foreach(json_object_get(line, "proofs"), i, proof) {
        const char *s = json_string_value(json_object_get(proof, "proof"));
        bool swapped = !strcmp(json_string_value(json_object_get(proof, "first")), "rejected");
        double given = json_number_value(json_object_get(proof, "ll_given"));
        double alone = json_number_value(json_object_get(proof, "ll_alone"));
        char turn[200];
        if (strlen(s) != 3 || strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != 3)
            continue;
        snprintf(turn, sizeof turn, "q\n%s\n\n\nResponse %c is the better one. Write the reasons that show it.",
                 swapped ? "no\nyes" : "yes\nno", swapped ? 'B' : 'A');
        assert_true(fabs(forced(t, turn, s) - given) < 1e-3);       /* float32 sums of a handful of tokens */
        assert_true(fabs(forced(t, "Compare two responses to a question: say what is good and bad about each, which "
                                "one is better, and why.", s) - alone) < 1e-3);
        assert_true(fabs(json_number_value(json_object_get(proof, "score")) + given / alone) < 1e-9);
        checked++;
    }
    assert_true(checked > 5);
    json_decref(line);
    gram_tokenizer_close(t);
    free(text), free(rows), free(out);
}

/* A line is the row with a reason, and whoever learns from it heeds what the row says of its label. */
static void proofs_keep_the_label(void **state)
{
#define ROW "{\"prompt\":\"q\",\"chosen\":\"yes\",\"rejected\":\"no\","
    static const char *const want[] = { "\"soft\":0.75", "\"tie\":true", "\"margin\":2.0" };
    char *in = check_write("said.jsonl", ROW "\"soft\":0.75}\n" ROW "\"tie\":true}\n" ROW "\"margin\":2}\n"),
         *bad = check_write("unlikely.jsonl", ROW "\"soft\":0.25}\n"), *out = check_tmppath("said.out"), *text, *line;
    gram_prove_options o;
    size_t i = 0;
    (void)state;

    gram_prove_options_init(&o);
    o.format = FORMAT;
    o.k = 1;
    o.max_tokens = 3;
    CHECK_OK(gram_prove_file(model, in, out, &o, NULL, NULL, &check_err));
    text = slurp(out);
    for (char *p = text; (line = strsep(&p, "\n")) && *line; i++)
        for (size_t k = 0; k < GR_COUNT(want); k++)
            assert_int_equal(strstr(line, want[k]) != NULL, i == k);
    assert_int_equal(i, 3);
    assert_int_equal(gram_prove_file(model, bad, out, &o, NULL, NULL, &check_err), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "unlikely.jsonl:1: the chosen answer is said to be the better one with a "
                           "probability of 0.25"));
    free(text), free(in), free(bad), free(out);
#undef ROW
}

/* The report's numbers are those of its lines. */
static void counts_are_of_the_lines(const char *path, const gram_prove_report *r)
{
    char *text = slurp(path), *line, *p = text;
    uint64_t proved = 0, cut = 0, contrary = 0;
    double score = 0;

    while ((line = strsep(&p, "\n")) && *line) {
        json_t *o = json_loads(line, 0, NULL), *proof;
        bool is = json_is_string(json_object_get(o, "rationale"));
        size_t i;
        proved += is;
        score += is ? json_number_value(json_object_get(o, "score")) : 0;
        json_array_foreach(json_object_get(o, "proofs"), i, proof) {
            const char *flaw = json_string_value(json_object_get(proof, "flaw"));
            cut += flaw && !strcmp(flaw, "cut");
            contrary += flaw && !strcmp(flaw, "concludes for the other answer");
        }
        json_decref(o);
    }
    assert_true(cut > 0 && cut < r->proofs);
    if (r->proved != proved || r->cut != cut || r->contrary != contrary)
        fail_msg("%d proved, %d cut, %d contrary: the lines say %d, %d and %d", (int)r->proved, (int)r->cut,
                 (int)r->contrary, (int)proved, (int)cut, (int)contrary);
    if (proved)
        CHECK_NEAR(r->score, score / (double)proved, 1e-12);
    free(text);
}

/* 150 of them, with more in the second. */
static char *write_pairs(const char *more)
{
    gr_buf rows = { 0 };
    char *path;

    for (int i = 0; i < 150; i++)
        gr_buf_printf(&rows, "{\"id\":\"r%d\",\"prompt\":\"q %c\",\"chosen\":\"%c\",\"rejected\":\"%c\"%s}\n", i,
                      'a' + i % 26, 'a' + i / 26, 'A' + i % 7,
                      i == 1 ? more : i % 50 ? "" : ",\"tie\":true");
    path = check_write("prove.rows.jsonl", rows.p);
    gr_buf_clear(&rows);
    return path;
}

static void proofs_resume(void **state)
{
    static const char *const more[] = { ",\"weight\":2", ",\"soft\":0.75", ",\"margin\":1", ",\"source\":\"s\"",
                                        ",\"subset\":\"s\"" };
    gram_prove_options o;
    int calls = 0;
    gram_file_options f = { .progress = NULL };
    gram_prove_report report;
    char *in, *whole = check_tmppath("proofs.whole"), *cut = check_tmppath("proofs.cut"), *a, *b;
    (void)state;

    in = write_pairs("");
    gram_prove_options_init(&o);
    o.format = FORMAT;
    o.k = 2;
    o.max_tokens = 3;
    CHECK_OK(gram_prove_file(model, in, whole, &o, &f, &report, &check_err));
    assert_int_equal(report.proved + report.unproved, 150);
    assert_int_equal(report.proofs, 2 * 147);
    f.progress = stop_after_one;
    f.arg = &calls;
    assert_int_equal(gram_prove_file(model, in, cut, &o, &f, &report, &check_err), GRAM_ESTOPPED);
    f.progress = NULL;
    f.resume = true;
    for (size_t k = 0; k < GR_COUNT(more); k++) {       /* a row that its line would speak of otherwise */
        free(write_pairs(more[k]));
        if (gram_prove_file(model, in, cut, &o, &f, &report, &check_err) != GRAM_EARG ||
            !strstr(check_err.text, "row r1 says something else"))
            fail_msg("%s goes on: %s", more[k], check_err.text);
    }
    free(write_pairs(""));
    CHECK_OK(gram_prove_file(model, in, cut, &o, &f, &report, &check_err));
    assert_int_equal(report.file.resumed, 64);
    assert_int_equal(report.proved + report.unproved, 150);
    assert_int_equal(report.proofs, 2 * 147);
    counts_are_of_the_lines(cut, &report);
    a = slurp(whole);
    b = slurp(cut);
    assert_string_equal(a, b);
    free(a), free(b), free(in), free(whole), free(cut);
}

/* Rows that teach nothing are named by their line. */
static void bad_rows_are_named(void **state)
{
    static const char good[] = "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\",\"rationale\":\"Response A is "
                               "it.\"}";
    static const struct { const char *row, *say; } bad[] = {
        { "", "wanted a \"rationale\", or HelpSteer3's" },
        { ",\"rationale\":\"It is better.\"", "names neither answer" },
        { ",\"rationale\":\" \"", "the reason is empty" },
        { ",\"rationale\":\"Response B is better.\"", "its verdict for the second answer, and the row prefers the "
                                                      "first" },
        { ",\"rationale\":\"Response A is it.\",\"rationale_label\":\"B\"", "its verdict for the second answer" },
        { ",\"rationale\":\"A</think><answer>B</answer>\"", "its verdict for the second answer" },
        { ",\"rationale\":\"Response A.\",\"rationale_label\":\"C\"", "\"rationale_label\" must be" },
        { ",\"rationale\":[1]", "must be a text or a list of texts, found a number" },
        { ",\"rationale\":\"Response A: LONG\"", "tokens with its reason, and at most 2048 may be read" },
    };
    char *out = check_tmppath("trained");
    (void)state;

    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        gram_train_options o;
        gr_buf rows = { 0 };
        char *path;
        const char *at = strstr(bad[i].row, "LONG");
        gr_buf_printf(&rows, "%s\n{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"", good);
        gr_buf_add(&rows, bad[i].row, at ? (size_t)(at - bad[i].row) : strlen(bad[i].row));
        for (int k = 0; at && k < 10000; k++)
            gr_buf_puts(&rows, "x");
        gr_buf_puts(&rows, at ? at + 4 : "");
        gr_buf_puts(&rows, "}\n");
        path = check_write("bad.jsonl", rows.p);
        /* a judge, a prover, and the prover that self-training begins with */
        for (int proof = 0; proof < 3; proof++) {
            gram_selftrain_options self;
            gram_status rc;
            gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
            gram_train_options_set_loss(&o, proof ? GRAM_LOSS_PROOF : GRAM_LOSS_RATIONALE);
            o.steps = 1;
            gram_selftrain_options_init(&self);
            self.model = "tests/golden/train/judge";
            self.human = self.labelled = self.unlabelled = path;
            self.out = out;
            rc = proof == 2 ? gram_selftrain(&self, NULL, NULL, &check_err)
                            : gram_finetune("tests/golden/train/judge", path, out, &o, NULL, &check_err);
            if (rc != GRAM_EFORMAT || !strstr(check_err.text, ".jsonl:2: ") || !strstr(check_err.text, bad[i].say))
                fail_msg("%d said \"%s\", wanted \"%s\"", proof, check_err.text, bad[i].say);
        }
        gr_buf_clear(&rows);
        free(path);
    }
    free(out);
}

static int hear(void *arg, const gram_gradient_check *c)
{
    ++*(size_t *)arg;
    return !c->agrees;
}

/* Of HelpSteer3's rows and of others the gradients of both losses are those of difference quotients. */
static void losses_have_gradients(void **state)
{
    static const gram_loss loss[] = { GRAM_LOSS_RATIONALE, GRAM_LOSS_PROOF };
    char *rows = check_write("reasons.jsonl",
        "{\"context\":[{\"role\":\"user\",\"content\":\"4+4?\"}],\"response1\":\"9\",\"response2\":\"8\","
        "\"overall_preference\":2,"
        "\"individual_preference\":[{\"score\":2,\"reasoning\":\"@Response 2 "
        "adds.\",\"feedback1\":\"No.\",\"feedback2\":\"Yes.\"},"
        "{\"score\":-1,\"reasoning\":\"@Response 1\",\"feedback1\":\"\",\"feedback2\":\"\"}]}\n"
        "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\",\"rationale\":\"The former, Response A, is it.\"}\n");
    (void)state;

    for (size_t i = 0; i < GR_COUNT(loss); i++) {
        gram_train_options o;
        size_t heard = 0;
        gram_train_report report;
        gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
        gram_train_options_set_loss(&o, loss[i]);
        o.model.judge_prompt = "{input} {response_a} {response_b}";
        o.check_gradients = hear;
        o.arg = &heard;
        CHECK_OK(gram_finetune("tests/golden/train/judge", rows, "unused", &o, &report, &check_err));
        assert_int_equal(report.rows, 3);               /* both orders of the first, the one of the second */
        assert_true(heard > 10);
    }
    free(rows);
}

static void *reason_in_thread(void *arg)
{
    gram_reasoned v[PAIRS];

    reason_all(arg, v);
    for (size_t i = 0; i < PAIRS; i++)
        gram_reasoned_clear(&v[i]);
    return NULL;
}

static void two_threads_share_one(void **state)
{
    gram_reasoner *r = open_reasoner(&opt);
    pthread_t t[2];
    (void)state;

    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, reason_in_thread, r), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    gram_reasoner_close(r);
}

/* Whatever allocation fails is said, and everything is given back. */
static void no_memory(void **state)
{
    gram_pair p = pair_at(1);
    gram_rationale_options short_ones = opt;            /* every allocation is one more run */
    bool failed = NOMEM_COUNTED;
    (void)state;

    short_ones.votes = 2;
    short_ones.max_tokens = 3;
    for (long n = 0; failed; n++) {
        long before = nomem_live;
        gram_reasoner *r = NULL;
        gram_reasoned v = { .n = 0 };
        size_t bad;
        gram_status rc;
        nomem_left = n;
        rc = gram_reasoner_open(&r, model, &short_ones, &check_err);
        if (!rc)
            rc = gram_reason(r, &p, 1, &v, &bad, &check_err);
        failed = nomem_left < 0;
        nomem_left = -1;
        if (!rc)
            gram_reasoned_clear(&v);
        gram_reasoner_close(r);
        assert_true(!rc || (failed && rc == GRAM_ENOMEM));      /* what a cache cannot keep is computed anew */
        /* the first call finds the tokens that end answers, and keeps them */
        if (nomem_live != before && n > 0)
            fail_msg("allocation %ld: %ld not given back", n, nomem_live - before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_alone), cmocka_unit_test(stored_scores_again), cmocka_unit_test(verdict_is_the_labels),
        cmocka_unit_test(in_steps), cmocka_unit_test(in_steps_early), cmocka_unit_test(as_json),
        cmocka_unit_test(ranks), cmocka_unit_test(no_place_has_the_first_seat), cmocka_unit_test(files_resume),
        cmocka_unit_test(one_order_is_either), cmocka_unit_test(refuses),
        cmocka_unit_test(proofs_are_scored_by_definition),
        cmocka_unit_test(proofs_keep_the_label), cmocka_unit_test(proofs_resume),
        cmocka_unit_test(bad_rows_are_named), cmocka_unit_test(losses_have_gradients),
        cmocka_unit_test(two_threads_share_one), cmocka_unit_test(no_memory),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
