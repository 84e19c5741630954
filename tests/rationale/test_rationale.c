/* test_rationale.c - rationales and votes over a scripted model: what is read, what is counted, and what stays the same
 * in every company. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "bytes.h"
#include "check.h"
#include "rationale/json.h"
#include "rationale/prove.h"
#include "rationale/reason.h"

static gr_tok *tok;

/* ---- The scripted model --------------------------------------------------------------------------- */

/* Rationale j of an order is line[order][j]; "/" at its end: the closing tag was never written. Its label A gets the
 * logit z[order][j], label B 0. */
struct script {
    const char *line[2][8];
    double z[2][8];
    size_t asked, read, prompts;
    uint64_t seed[64];
    gr_ids last;                        /* of the sequence read last */
    struct { double temperature, top_p; size_t most; } how;     /* that a proof was asked for last */
};

static size_t order_of(const gr_seq *s)
{
    static const int32_t mark[] = { '1', ':', 'w' };    /* the first seat holds "wrong" or "worse": b is read first */

    for (size_t i = 0; i + 3 <= s->n; i++)
        if (!memcmp(s->token + i, mark, sizeof mark))
            return 1;
    return 0;
}

static gram_status write_script(void *arg, const gr_ask *ask, size_t n, gr_write_fn *fn, void *fn_arg, gram_err *err)
{
    struct script *s = arg;
    size_t at = 0;
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < n && !rc; i++) {
        gr_text t = { .ask = ask[i], .n_answer = 7, .finish = GR_STOP_STRING };
        const char *line;
        if (i == 0 || ask[i].prompt.token != ask[i - 1].prompt.token) {
            s->prompts++;
            at = 0;
        }
        line = s->line[order_of(&ask[i].prompt)][at++ % 8];
        line = line ? line : "Response A is better.";
        gr_buf_puts(&t.text, line);
        if (t.text.n && t.text.p[t.text.n - 1] == '/') {
            t.text.p[--t.text.n] = '\0';
            t.finish = GR_LENGTH;
        }
        s->seed[s->asked++ % 64] = ask[i].seed;
        rc = fn(fn_arg, &t, err);
        gr_buf_clear(&t.text);
    }
    return rc;
}

static gram_status read_script(void *arg, const gr_seq *seq, size_t n, const int32_t label[2], float *logit,
                               gram_err *err)
{
    struct script *s = arg;
    size_t at[2] = { 0 };

    (void)err;
    assert_int_equal(label[0], 'A');
    assert_int_equal(label[1], 'B');
    for (size_t i = 0; i < n; i++) {
        size_t order = order_of(&seq[i]);
        logit[2 * i] = (float)s->z[order][at[order]++ % 8];
        logit[2 * i + 1] = 0;
        s->last.n = 0;
        gr_ids_add(&s->last, seq[i].token, seq[i].n);
    }
    s->read += n;
    return GRAM_OK;
}

/* Logits that are a digest of what is read: two texts have the same only if they are the same. */
static gram_status read_digest(void *arg, const gr_seq *seq, size_t n, const int32_t label[2], float *logit,
                               gram_err *err)
{
    (void)arg, (void)label, (void)err;
    for (size_t i = 0; i < 2 * n; i++) {
        uint64_t h = gr_digest(GR_DIGEST + i % 2, seq[i / 2].token, seq[i / 2].n * sizeof(int32_t));
        logit[i] = (float)(h % 100003) / 30000;
    }
    return GRAM_OK;
}

struct judge { gr_reason_words words; gr_reason r; struct script script; };

static gram_status open_words(gr_reason_words *w, const char *format, const char *prompt, const char *a, const char *b)
{
    const char *const labels[2] = { a, b };
    gr_chat_facts facts = { 0 };
    gr_format f;
    gr_chat chat;
    gram_status rc = gr_format_init(&f, format, &check_err);

    if (rc)
        return rc;
    CHECK_OK(gr_chat_init(&chat, "chatml", &facts, tok, &check_err));
    return gr_reason_words_init(w, &f, &chat, tok, prompt, labels, 100000, GRAM_TRUNCATE_ERROR, &check_err);
}

static void judge_open(struct judge *j, const char *format, size_t votes)
{
    memset(j, 0, sizeof *j);
    CHECK_OK(open_words(&j->words, format, "Q:{input} 1:{response_a} 2:{response_b} <think>", "A", "B"));
    j->r = (gr_reason){ .words = &j->words, .context = 100000, .write = write_script, .read = read_script,
                        .arg = &j->script };
    gram_rationale_options_init(&j->r.opt);
    j->r.opt.votes = votes;
}

static void judge_close(struct judge *j)
{
    gr_ids_clear(&j->script.last);
    gr_reason_words_clear(&j->words);
}

static const gram_message question = { "user", "Why?", NULL };
static const gram_pair right_first = { { &question, 1, NULL }, "right", "wrong", NULL, NULL };

static gram_reasoned reason(struct judge *j, const gram_pair *p)
{
    gram_reasoned v;
    size_t bad;

    CHECK_OK(gr_reason_pairs(&j->r, p, 1, &v, &bad, &check_err));
    assert_int_equal(bad, 1);
    return v;
}

static double s(double x) { return 1 / (1 + exp(-x)); }

static void near(double x, double want, double tol)
{
    if (!(fabs(x - want) <= tol))
        fail_msg("%.17g, wanted %.17g", x, want);
}

/* ---- What is read --------------------------------------------------------------------------------- */

static bool ids_hold(const gr_ids *ids, int32_t id)
{
    for (size_t i = 0; i < ids->n; i++)
        if (ids->p[i] == id)
            return true;
    return false;
}

static size_t count_id(const gr_ids *ids, int32_t id)
{
    size_t n = 0;

    for (size_t i = 0; i < ids->n; i++)
        n += ids->p[i] == id;
    return n;
}

/* The ids as text, tokens that are no bytes in brackets. */
static char *spelled(const gr_ids *ids)
{
    static const char *const name[] = { "[S]", "[E]", "[T]", "[/T]" };
    gr_buf b = { 0 };

    for (size_t i = 0; i < ids->n; i++) {
        char c = (char)ids->p[i];
        if (ids->p[i] >= 256)
            gr_buf_puts(&b, name[ids->p[i] - 256]);
        else
            gr_buf_add(&b, &c, 1);
    }
    return b.p;
}

static void text_is_read_as_one(void **state)
{
    struct judge j;
    gram_reasoned v;
    char *text;
    (void)state;

    judge_open(&j, NULL, 1);
    j.script.line[0][0] = "  Good.\n";
    v = reason(&j, &right_first);
    text = spelled(&j.script.last);
    assert_string_equal(text, "[S]user\nQ:Why? 1:right 2:wrong [T][E]\n[S]assistant\n[T]\nGood.\n[/T]\n\n<answer>\n");
    assert_string_equal(v.rationale[0].text, "Good.");
    free(text);
    gram_reasoned_clear(&v);
    judge_close(&j);
}

/* Marks in answers and rationales are text: only the judge prompt's and the format's own tags are tokens. */
static void foreign_marks_stay_text(void **state)
{
    const gram_pair p = { { &question, 1, NULL }, "x</think>\n<answer>\nB\n</answer><|im_end|>", "y<think>", NULL,
                         NULL };
    struct judge j;
    gram_reasoned v;
    (void)state;

    judge_open(&j, NULL, 2);
    j.script.line[0][0] = j.script.line[1][0] = "a <think> b <|im_end|> c";
    v = reason(&j, &p);
    assert_int_equal(count_id(&j.script.last, THINK), 2);       /* the prompt's and the opening */
    assert_int_equal(count_id(&j.script.last, THINK_END), 1);   /* the closing */
    assert_int_equal(count_id(&j.script.last, IM_START), 2);
    assert_int_equal(count_id(&j.script.last, IM_END), 1);
    assert_int_equal(v.n, 2);
    gram_reasoned_clear(&v);
    judge_close(&j);
}

static void labels_must_be_one_token(void **state)
{
    gr_reason_words w;
    (void)state;

    assert_int_equal(open_words(&w, NULL, NULL, "A", "BB"), GRAM_EUNSUPPORTED);
    assert_non_null(strstr(check_err.text, "label \"BB\": wanted one token behind"));
    assert_int_equal(open_words(&w, NULL, NULL, "A", "A"), GRAM_EUNSUPPORTED);
    assert_non_null(strstr(check_err.text, "found \"A\" twice"));
    CHECK_OK(open_words(&w, "rm-r1", NULL, "A", "B"));
    assert_false(ids_hold(&w.marks, THINK));
    gr_reason_words_clear(&w);
    CHECK_OK(open_words(&w, "think-rm", NULL, "A", "B"));
    assert_true(ids_hold(&w.marks, THINK));
    gr_reason_words_clear(&w);
}

/* ---- Votes ---------------------------------------------------------------------------------------- */

static void votes_are_counted(void **state)
{
    struct judge j;
    gram_reasoned v;
    double p[4] = { s(1), s(1), s(-2), s(-3) }, mean = (p[0] + p[1] + p[2] + p[3]) / 4, squares = 0;
    (void)state;

    judge_open(&j, NULL, 4);
    /* a first: A by 1, then B by 2; b first: its label A by -1 (so a by 1), then by 3 (so b by 3). */
    j.script = (struct script){ .line = { { "Response A is better.", "Response A is better./" },
                                          { "Conclusion: Response A wins.", "no word" } },
                                .z = { { 1, -2 }, { -1, 3 } } };
    v = reason(&j, &right_first);
    for (int i = 0; i < 4; i++)
        squares += (p[i] - mean) * (p[i] - mean);
    assert_int_equal(v.n, 4);
    assert_int_equal(j.script.prompts, 2);              /* those of one order stand together: one prefill each */
    assert_false(v.rationale[0].swapped);
    assert_true(v.rationale[1].swapped);
    near(v.rationale[0].p, s(1), 1e-12);
    near(v.rationale[1].p, s(1), 1e-12);
    near(v.rationale[2].p, s(-2), 1e-12);
    near(v.rationale[3].p, s(-3), 1e-12);
    near(v.verdict.preference, mean, 1e-12);
    near(v.verdict.p_forward, (s(1) + s(-2)) / 2, 1e-12);
    near(v.verdict.p_swapped, (s(1) + s(-3)) / 2, 1e-12);
    near(v.verdict.logit_margin, (1 - 2 + 1 - 3) / 4.0, 1e-12);
    near(v.error, sqrt(squares / 3 / 4), 1e-12);
    near(v.hard, 0.5, 0);
    assert_int_equal(v.votes[0], 2);
    assert_int_equal(v.votes[1], 2);
    near(v.first_seat, 0.5, 0);          /* 1st: a of a first; 4th: b of b first */
    assert_true(v.verdict.consistent);
    assert_int_equal(v.forced, 1);
    assert_int_equal(v.rationale[2].status, GRAM_RATIONALE_FORCED);
    assert_int_equal(v.contradicts, 2);                 /* the second and the third */
    assert_true(v.rationale[1].contradicts && v.rationale[2].contradicts && !v.rationale[3].contradicts);
    assert_int_equal(v.written, 28);
    gram_reasoned_clear(&v);
    judge_close(&j);
}

static void early_stop(void **state)
{
    const gram_pair two[] = { right_first, { { &question, 1, NULL }, "right too", "worse", NULL, NULL } };
    struct judge j;
    gram_reasoned v[2];
    size_t bad;
    (void)state;

    judge_open(&j, NULL, 8);
    j.r.opt.early = 2;
    j.script.z[0][0] = 4;                               /* the first pair agrees; the script begins anew for the next */
    j.script.z[0][1] = 4;
    j.script.z[1][0] = -4;
    j.script.z[1][1] = 4;
    CHECK_OK(gr_reason_pairs(&j.r, two, 2, v, &bad, &check_err));
    assert_int_equal(v[0].n, 2);
    assert_true(v[0].early);
    assert_int_equal(v[1].n, 8);
    assert_false(v[1].early);
    gram_reasoned_clear(&v[0]);
    gram_reasoned_clear(&v[1]);
    j.r.opt.sure = 0.99;                                /* s(4) is 0.982 */
    v[0] = reason(&j, &right_first);
    assert_int_equal(v[0].n, 8);
    gram_reasoned_clear(&v[0]);
    judge_close(&j);
}

static void one_vote_and_single_order(void **state)
{
    struct judge j;
    gram_reasoned v;
    (void)state;

    judge_open(&j, NULL, 1);
    j.script.z[0][0] = 2;
    v = reason(&j, &right_first);
    assert_int_equal(v.n, 1);
    assert_true(isnan(v.verdict.p_swapped) && isnan(v.error));
    near(v.verdict.preference, s(2), 1e-12);
    gram_reasoned_clear(&v);
    j.r.opt.votes = 3;
    j.r.opt.single_order = true;
    v = reason(&j, &right_first);
    assert_int_equal(v.n, 3);
    assert_false(v.rationale[1].swapped || v.rationale[2].swapped);
    gram_reasoned_clear(&v);
    judge_close(&j);
}

/* The numbers 0 to 7 by the seed that a run of eight gave them, as text; b first in brackets. */
static void expect_numbers(struct judge *j, const gram_reasoned *all, bool turned, const char *want)
{
    gram_reasoned v, back;
    gram_pair pair = right_first;
    char got[64] = "";
    const char *why;
    json_t *o = json_object();
    size_t bad;

    pair.turned = turned;
    CHECK_OK(gr_reason_pairs(&j->r, &pair, 1, &v, &bad, &check_err));
    for (size_t i = 0; i < v.n; i++)
        for (size_t k = 0; k < all->n; k++)
            if (v.rationale[i].seed == all->rationale[k].seed)
                snprintf(got + strlen(got), sizeof got - strlen(got), v.rationale[i].swapped ? "(%zu)" : "%zu", k);
    assert_string_equal(got, want);
    assert_true(gr_reasoned_put(o, &v, 0));             /* a line brings them back in the same order */
    assert_int_equal(gr_reasoned_get(o, &back, &why), GRAM_OK);
    assert_int_equal(back.n, v.n);
    for (size_t i = 0; i < v.n; i++)
        assert_true(back.rationale[i].p == v.rationale[i].p && back.rationale[i].swapped == v.rationale[i].swapped);
    assert_true(back.verdict.preference == v.verdict.preference);
    json_decref(o);
    gram_reasoned_clear(&back);
    gram_reasoned_clear(&v);
}

/* Of a pair that is turned an odd number of votes has one more with b first, and they are some of those that it has in
 * any run. */
static void turned_pairs(void **state)
{
    static const struct { size_t votes, early; const char *want[2]; } run[] = {
        { 1, 0, { "0", "(1)" } }, { 2, 0, { "0(1)", "0(1)" } }, { 3, 0, { "0(1)2", "0(1)(3)" } },
        { 4, 0, { "0(1)2(3)", "0(1)2(3)" } }, { 5, 0, { "0(1)2(3)4", "0(1)2(3)(5)" } },
        { 6, 1, { "0", "(1)" } }, { 6, 3, { "0(1)2", "0(1)(3)" } }, { 3, 2, { "0(1)", "0(1)" } }
    };
    gram_pair turned_pair = right_first;
    struct judge j;
    gram_reasoned all;

    (void)state;
    judge_open(&j, NULL, 8);
    for (size_t i = 0; i < 8; i++)                      /* all for a, so that --early ends */
        j.script.z[0][i] = 9 + (double)i, j.script.z[1][i] = -9 - (double)i;
    all = reason(&j, &right_first);
    for (size_t k = 0; k < GR_COUNT(run); k++)
        for (int turned = 0; turned < 2; turned++) {
            j.r.opt.votes = run[k].votes;
            j.r.opt.early = run[k].early;
            expect_numbers(&j, &all, turned, run[k].want[turned]);
        }
    gram_reasoned_clear(&all);
    j.r.opt = (gram_rationale_options){ .votes = 3, .max_tokens = 9, .sure = 0.9, .single_order = true };
    turned_pair.turned = true;
    CHECK_OK(gr_reason_pairs(&j.r, &turned_pair, 1, &all, &(size_t){ 0 }, &check_err));
    assert_true(all.n == 3 && all.rationale[0].swapped && all.rationale[1].swapped && all.rationale[2].swapped);
    assert_true(isnan(all.verdict.p_forward) && all.verdict.p_swapped == all.verdict.preference);
    expect_numbers(&j, &all, true, "(0)(1)(2)");
    gram_reasoned_clear(&all);
    judge_close(&j);
}

static void equal_answers_are_a_tie(void **state)
{
    const gram_pair same = { { &question, 1, NULL }, "right", "right", NULL, NULL };
    struct judge j;
    gram_reasoned v;
    (void)state;

    judge_open(&j, NULL, 4);
    v = reason(&j, &same);
    assert_int_equal(v.n, 0);
    assert_int_equal(j.script.asked, 0);
    near(v.verdict.preference, 0.5, 0);
    assert_true(v.verdict.consistent && v.verdict.p_swapped == 0.5);
    gram_reasoned_clear(&v);
    j.r.opt.votes = 1;                                  /* one vote reads one order, whatever it reads */
    v = reason(&j, &same);
    assert_true(v.verdict.p_forward == 0.5 && isnan(v.verdict.p_swapped));
    gram_reasoned_clear(&v);
    judge_close(&j);
}

/* Orders disagree where they prefer different answers: one that prefers neither contradicts no other, whichever of the
 * answers that one prefers. */
static void an_order_without_a_winner_agrees(void **state)
{
    static const double z[][3] = { { 0, 2, 1 }, { 0, -2, 1 }, { 2, 0, 1 }, { -2, 0, 1 }, { 0, 0, 1 },
                                   { 1, 1, 0 }, { -1, -1, 0 }, { 1, -1, 1 }, { -1, 1, 1 } };
    struct judge j;
    (void)state;

    judge_open(&j, NULL, 2);
    for (size_t i = 0; i < GR_COUNT(z); i++) {
        gram_reasoned v;
        j.script.z[0][0] = (float)z[i][0];
        j.script.z[1][0] = (float)z[i][1];
        v = reason(&j, &right_first);
        if (v.verdict.consistent != (z[i][2] == 1))
            fail_msg("margins %g and %g, p %g and %g: consistent is %d", z[i][0], z[i][1], v.verdict.p_forward,
                     v.verdict.p_swapped, v.verdict.consistent);
        gram_reasoned_clear(&v);
    }
    judge_close(&j);
}

/* A pair's seeds follow from the seed, its texts and the number of the rationale. */
static void seeds_in_any_company(void **state)
{
    const gram_pair other = { { &question, 1, NULL }, "right too", "worse", NULL, NULL };
    const gram_pair both[] = { other, right_first };
    struct judge j;
    gram_reasoned alone, v[2];
    size_t bad;
    (void)state;

    judge_open(&j, NULL, 6);
    alone = reason(&j, &right_first);
    CHECK_OK(gr_reason_pairs(&j.r, both, 2, v, &bad, &check_err));
    for (size_t i = 0; i < 6; i++) {
        assert_true(alone.rationale[i].seed == v[1].rationale[i].seed);
        assert_true(alone.rationale[i].seed != v[0].rationale[i].seed);
        for (size_t k = 0; k < i; k++)
            assert_true(alone.rationale[i].seed != alone.rationale[k].seed);
    }
    gram_reasoned_clear(&v[0]);
    gram_reasoned_clear(&v[1]);
    j.r.opt.early = 2;                                  /* what is written in two waves has the seeds of one */
    v[0] = reason(&j, &right_first);
    for (size_t i = 0; i < v[0].n; i++)
        assert_true(alone.rationale[i].seed == v[0].rationale[i].seed);
    gram_reasoned_clear(&v[0]);
    j.r.opt.seed = 1;
    v[0] = reason(&j, &right_first);
    assert_true(alone.rationale[0].seed != v[0].rationale[0].seed);
    gram_reasoned_clear(&v[0]);
    gram_reasoned_clear(&alone);
    judge_close(&j);
}

static void stored_text_scores_the_same(void **state)
{
    static const char *const text[] = { "Plain.", "", "\n <think>x</think> \t", "caf\xc3\xa9 \xff\xfe",
                                       "<|im_end|>\n\n" };
    struct judge j;
    (void)state;

    judge_open(&j, NULL, 2);
    j.r.read = read_digest;
    for (size_t i = 0; i < GR_COUNT(text); i++) {
        gram_reasoned v;
        j.script.line[0][0] = j.script.line[1][0] = text[i];
        v = reason(&j, &right_first);
        for (size_t k = 0; k < 2; k++) {
            gram_rationale again;
            CHECK_OK(gr_reason_stored(&j.r, &right_first, k == 1, v.rationale[k].text, &again, &check_err));
            assert_memory_equal(again.logit, v.rationale[k].logit, sizeof again.logit);
            assert_true(again.p == v.rationale[k].p);
            assert_string_equal(again.text, v.rationale[k].text);
            gr_rationale_clear(&again);
        }
        gram_reasoned_clear(&v);
    }
    judge_close(&j);
}

/* The label's place is never beyond the context: the rationale loses its end, which is not silent. */
static void too_long_is_forced(void **state)
{
    struct judge j;
    gram_reasoned v;
    char line[2000];
    (void)state;

    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\0';
    judge_open(&j, NULL, 1);
    j.r.context = 1000;
    j.script.line[0][0] = line;
    v = reason(&j, &right_first);
    assert_int_equal(v.forced, 1);
    assert_true(j.script.last.n <= 1000 && strlen(v.rationale[0].text) > 400);
    gram_reasoned_clear(&v);
    j.r.context = 60;
    size_t bad;
    assert_int_equal(gr_reason_pairs(&j.r, &right_first, 1, &v, &bad, &check_err), GRAM_ELIMIT);
    assert_int_equal(bad, 0);
    judge_close(&j);
}

static void json_and_back(void **state)
{
    struct judge j;
    gram_reasoned v, w;
    const char *why;
    json_t *o = json_object();
    (void)state;

    judge_open(&j, NULL, 3);
    j.script = (struct script){ .line = { { "one", "two/" }, { "three" } }, .z = { { 0.3, -0.2 }, { 2 } } };
    v = reason(&j, &right_first);
    assert_true(gr_reasoned_put(o, &v, 5));
    assert_int_equal(gr_reasoned_get(o, &w, &why), GRAM_OK);
    assert_int_equal(w.n, 3);
    assert_true(w.verdict.preference == v.verdict.preference && w.error == v.error && w.hard == v.hard);
    assert_true(w.first_seat == v.first_seat);
    assert_int_equal(w.forced, 1);
    for (size_t i = 0; i < 3; i++) {
        assert_true(w.rationale[i].p == v.rationale[i].p && w.rationale[i].swapped == v.rationale[i].swapped);
        assert_string_equal(w.rationale[i].text, v.rationale[i].text);
    }
    gram_reasoned_clear(&w);
    json_array_clear(json_object_get(json_array_get(json_object_get(o, "orders"), 0), "tokens"));
    assert_int_equal(gr_reasoned_get(o, &w, &why), GRAM_EFORMAT);
    json_decref(o);
    gram_reasoned_clear(&v);
    judge_close(&j);
}

/* ---- Formats and words ----------------------------------------------------------------------------- */

static void own_formats(void **state)
{
    static const struct { const char *text, *say; } bad[] = {
        { "gram-r3", "neither one of gram-r2, rm-r1 and think-rm nor a file" },
        { "{", "wanted a JSON object" },
        { "{\"opening\":\"\",\"closing\":\"x\",\"cue\":\"y\"}", "ending: wanted a text" },
        { "{\"opening\":\"\",\"closing\":\" \\n\",\"cue\":\"y\",\"ending\":\"\"}", "closing: wanted a tag" },
        { "{\"opening\":\"\",\"closing\":\"x\",\"cue\":\"y\",\"ending\":\"\",\"end\":1}",
         "the key \"end\" is none of" },
        { "{\"opening\":\"\",\"closing\":\"x\",\"cue\":\"y\",\"ending\":\"\",\"labels\":[\"A\"]}",
         "labels: wanted a list" },
        { "{\"opening\":\"\",\"closing\":\"x\",\"cue\":\"y\",\"ending\":\"\",\"prompt\":\"Q\"}", "no {input}" },
    };
    gr_format f;
    (void)state;

    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        assert_int_equal(gr_format_init(&f, bad[i].text, &check_err), GRAM_EARG);
        if (!strstr(check_err.text, bad[i].say))
            fail_msg("%s: said \"%s\", wanted \"%s\"", bad[i].text, check_err.text, bad[i].say);
    }
    CHECK_OK(gr_format_init(&f, "{\"opening\":\"<r>\",\"closing\":\"</r>\",\"cue\":\"Verdict:\",\"ending\":\".\","
                                "\"labels\":[\"1\",\"2\"]}", &check_err));
    assert_non_null(strstr(f.prompt, "<r><which one is better, and why></r>Verdict:1 or 2."));
    gr_format_clear(&f);
}

static void last_tags_count(void **state)
{
    static const struct { const char *format, *text, *body; int label; } t[] = {
        { "gram-r2", "<think>\nfine\n</think>\n\n<answer>\nB\n</answer>", "fine", 1 },
        { "gram-r2", "<think>\nit says </think>\n<answer>\nA\n</answer>\nbut\n</think>\n<answer>\nB\n</answer>",
          "it says </think>\n<answer>\nA\n</answer>\nbut", 1 },
        { "gram-r2", "no tags at all", "no tags at all", -1 },
        { "gram-r2", "<think>x</think><answer>C</answer>", "x", -1 },
        { "gram-r2", "x</think><answer>A", "x", -1 },
        { "rm-r1", "<type>Chat</type>\n<answer>[[A]]</answer>", "<type>Chat</type>", 0 },
        { "think-rm", "<think>\na\n</think>\n<rationale>\nb\n</rationale>\n<answer>B</answer>",
          "a\n</think>\n<rationale>\nb\n</rationale>", 1 },
    };
    (void)state;

    for (size_t i = 0; i < GR_COUNT(t); i++) {
        const char *const label[] = { "A", "B" };
        gr_format f;
        gr_str body;
        int verdict;
        CHECK_OK(gr_format_init(&f, t[i].format, &check_err));
        body = gr_format_parse(&f, label, (gr_str){ t[i].text, strlen(t[i].text) }, &verdict);
        assert_int_equal(verdict, t[i].label);
        assert_true(gr_str_is(body, t[i].body));
        gr_format_clear(&f);
    }
}

static void conclusions(void **state)
{
    static const struct { const char *text; int seat; } t[] = {
        { "Response A is better.", 0 }, { "Response B is better than Response A.", 1 },
        { "Feedback: Response A is good.\n\nConclusion:\nResponse B wins.", 1 },
        { "Response A is worse than Response B.", 1 }, { "Both are fine.", -1 }, { "A better one is hard to find.",
                                                                                  -1 },
        { "Answer 2 is the best.", 1 }, { "@Response 1 is clearly superior to @Response 2", 0 },
        { "Response Better is A", -1 }, { "", -1 }, { "assistant **B** is preferred", 1 },
        { "Response A is better.\n\nBut Response B is better.", 1 }, { "Response A and Response B", -1 },
        { "Response A is not better than Response B.", 1 },
    };
    const char *const label[] = { "A", "B" };
    (void)state;

    for (size_t i = 0; i < GR_COUNT(t); i++)
        if (gr_conclusion(label, (gr_str){ t[i].text, strlen(t[i].text) }) != t[i].seat)
            fail_msg("\"%s\": wanted %d", t[i].text, t[i].seat);
    assert_true(gr_names_answer(label, (gr_str){ "see answer b, Answer A", 22 }, 0));
    assert_false(gr_names_answer(label, (gr_str){ "see answer b, Answer A", 22 }, 1));
}

static void seats(void **state)
{
    static const struct { const char *text, *any; bool seated; size_t named[2]; const char *second; } t[] = {
        { "@Response 1 beats Response 2.", "{first} beats {second}.", false, { 1, 1 }, "Response B beats Response A." },
        { "Answer A. assistant **B**!", "{first}. {second}**!", false, { 1, 1 }, "Response B. Response A**!" },
        { "{second} is better", "{second} is better", false, { 0, 1 }, "Response A is better" },
        { "The former, Response A", "The former, {first}", true, { 1, 0 }, "The former, Response B" },
        { "It is good.", "It is good.", false, { 0, 0 }, "It is good." },
    };
    const char *const label[] = { "A", "B" };
    (void)state;

    for (size_t i = 0; i < GR_COUNT(t); i++) {
        gr_buf b = { 0 }, c = { 0 };
        size_t named[2];
        bool seated;
        CHECK_OK(gr_reason_unseat((gr_str){ t[i].text, strlen(t[i].text) }, label, &b, named, &seated, &check_err));
        assert_string_equal(b.p, t[i].any);
        assert_int_equal(seated, t[i].seated);
        assert_memory_equal(named, t[i].named, sizeof named);
        CHECK_OK(gr_reason_seat((gr_str){ b.p, b.n }, label, 1, &c, &check_err));
        assert_string_equal(c.p, t[i].second);
        gr_buf_clear(&b);
        gr_buf_clear(&c);
    }
}

/* What is learnt: from the opening to the end of the turn, and where the label stands. */
static void written_out(void **state)
{
    struct judge j;
    gr_reason_prompts p;
    gr_reason_written w;
    char *text;
    (void)state;

    judge_open(&j, NULL, 1);
    CHECK_OK(gr_reason_prompt(&j.words, &right_first, true, &p, &check_err));
    CHECK_OK(gr_reason_write_out(&j.words, &p, 1, (gr_str){ "Bad.", 4 }, 1, IM_END, &w, &check_err));
    text = spelled(&w.ids);
    assert_string_equal(text, "[S]user\nQ:Why? 1:wrong 2:right [T][E]\n[S]assistant\n"
                              "[T]\nBad.\n[/T]\n\n<answer>\nB\n</answer>[E]");
    assert_int_equal(w.ids.p[w.asked], THINK);
    assert_int_equal(w.ids.p[w.asked - 1], '\n');
    assert_int_equal(w.ids.p[w.verdict], 'B');
    free(text);
    gr_ids_clear(&w.ids);
    CHECK_OK(gr_reason_write_out(&j.words, &p, 0, (gr_str){ "Proof", 5 }, -1, -1, &w, &check_err));
    assert_int_equal(w.verdict, 0);
    assert_int_equal(w.ids.p[w.ids.n - 1], 'f');
    gr_ids_clear(&w.ids);
    gr_reason_prompts_clear(&p);
    judge_close(&j);
}

static void prove_prompts(void **state)
{
    char *p;
    (void)state;

    CHECK_OK(gr_format_prove_prompt(NULL, "B", &p, &check_err));
    assert_non_null(strstr(p, "found that Response B serves"));
    assert_null(strstr(p, "{label}"));
    free(p);
    CHECK_OK(gr_format_prove_prompt("{input}", "A", &p, &check_err));
    assert_string_equal(p, "{input}\n\nResponse A is the better one. Write the reasons that show it.");
    free(p);
}

/* ---- Proofs ----------------------------------------------------------------------------------------- */

/* Alone a text is as likely as its length says. */
static gram_status force_length(void *arg, const gr_seq *seq, size_t asked, double *ll, gram_err *err)
{
    (void)arg, (void)err;
    *ll = -(double)(seq->n - asked);
    return GRAM_OK;
}

/* Like write_script(), with log-probabilities of z[order][j] a token, and 4 tokens each. */
static gram_status write_proofs(void *arg, const gr_ask *ask, size_t n, gr_write_fn *fn, void *fn_arg, gram_err *err)
{
    struct script *s = arg;
    size_t at[2] = { 0 };
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < n && !rc; i++) {
        size_t order = order_of(&ask[i].prompt), k = at[order]++;
        const char *line = s->line[order][k];
        bool cut = *line == '/';
        float raw[4];
        gr_text t = { .ask = ask[i], .n_answer = 4, .finish = cut ? GR_LENGTH : GR_STOP, .raw = raw };
        s->how.temperature = ask[i].sampling->temperature;
        s->how.top_p = ask[i].sampling->top_p;
        s->how.most = ask[i].max_new;
        for (int j = 0; j < 4; j++)
            raw[j] = (float)s->z[order][k];
        gr_ids_add(&t.ids, ask[i].prompt.token, ask[i].prompt.n);
        gr_ids_add(&t.ids, (const int32_t[]){ 'a', 'b', 'c', IM_END }, 4);
        gr_buf_puts(&t.text, line + cut);
        rc = fn(fn_arg, &t, err);
        gr_ids_clear(&t.ids);
        gr_buf_clear(&t.text);
    }
    return rc;
}

struct prover { gr_reason_words words[2]; gr_prover p; struct script script; };

/* a, b: the labels. */
static void prover_open_with(struct prover *p, size_t k, const char *a, const char *b)
{
    memset(p, 0, sizeof *p);
    for (int i = 0; i < 2; i++) {
        char *prompt;
        CHECK_OK(gr_format_prove_prompt("Q:{input} 1:{response_a} 2:{response_b} {label}!", i ? b : a, &prompt,
                                        &check_err));
        CHECK_OK(open_words(&p->words[i], "{\"opening\":\"\",\"closing\":\"x\",\"cue\":\"\",\"ending\":\"\"}", prompt,
                            a, b));
        free(prompt);
    }
    p->p = (gr_prover){ .words = { &p->words[0], &p->words[1] }, .write = write_proofs, .force = force_length,
                        .arg = &p->script };
    gram_prove_options_init(&p->p.opt);
    p->p.opt.k = k;
    CHECK_OK(gr_prove_alone(&p->words[0], &p->p.alone, &check_err));
}

static void prover_open(struct prover *p, size_t k)
{
    prover_open_with(p, k, "A", "B");
}

static void prover_close(struct prover *p)
{
    gr_reason_words_clear(&p->words[0]);
    gr_reason_words_clear(&p->words[1]);
    gr_ids_clear(&p->p.alone);
}

static gram_proved prove(struct prover *p)
{
    gram_proved v;
    size_t bad;

    CHECK_OK(gr_prove_pairs(&p->p, &right_first, 1, &v, &bad, &check_err));
    return v;
}

/* What is asked of a proof is written so. */
static void proofs_are_written_as_asked(void **state)
{
    struct prover p;
    uint64_t seed[2];
    (void)state;

    prover_open(&p, 2);
    p.p.opt.temperature = 0.5;
    p.p.opt.top_p = 0.75;
    p.p.opt.max_tokens = 7;
    for (size_t k = 0; k < 2; k++) {
        gram_proved v;
        p.p.opt.seed = k;
        p.script = (struct script){ .line = { { "Response A is better." }, { "Response B is better." } },
                                    .z = { { -0.9 }, { -0.2 } } };
        v = prove(&p);
        assert_true(p.script.how.temperature == 0.5 && p.script.how.top_p == 0.75 && p.script.how.most == 7);
        seed[k] = v.proof[0].seed;
        assert_true(seed[k] != v.proof[1].seed);
        gram_proved_clear(&v);
    }
    assert_true(seed[0] != seed[1]);
    prover_close(&p);
}

static void best_proof_is_kept(void **state)
{
    struct prover p;
    gram_proved v;
    (void)state;

    prover_open(&p, 4);
    /* With a first its label is A, with b first B: the last of the second order wins, for those before it have
     * flaws. */
    p.script = (struct script){ .line = { { "Response A is better.", "Response B is better." },
                                          { "/Response B is better", "Response B says this, Response A that." } },
                                .z = { { -0.9, -0.1 }, { -0.2, -0.5 } } };
    v = prove(&p);
    assert_int_equal(v.n, 4);
    near(v.proof[0].score, -0.9, 1e-6);
    near(v.proof[0].ll_given, -3.6, 1e-6);
    near(v.proof[0].ll_alone, -4, 0);
    assert_null(v.proof[0].flaw);
    assert_true(v.proof[1].swapped && v.proof[3].swapped && !v.proof[2].swapped);
    assert_string_equal(v.proof[1].flaw, "cut");
    assert_string_equal(v.proof[2].flaw, "concludes for the other answer");
    assert_int_equal(v.best, 3);
    assert_string_equal(v.rationale, "{first} says this, {second} that.\n\nConclusion:\n{first} is better.");
    gram_proved_clear(&v);
    p.p.opt.least = -0.4;
    v = prove(&p);
    assert_string_equal(v.dropped, "the best score is too low");
    assert_null(v.rationale);
    gram_proved_clear(&v);
    prover_close(&p);
}

/* Whatever the labels are called, the rationale has the answers' places. */
static void labels_become_places(void **state)
{
    struct prover p;
    gram_proved v;
    (void)state;

    prover_open_with(&p, 2, "B", "A");
    p.script = (struct script){ .line = { { "Response B is better than Response A." },
                                          { "Response B says this, Response A that. Response A is better." } },
                                .z = { { -0.9 }, { -0.1 } } };
    v = prove(&p);
    assert_true(v.best == 1 && v.proof[1].swapped);
    assert_string_equal(v.rationale, "{second} says this, {first} that. {first} is better.");
    gram_proved_clear(&v);
    p.script.z[1][0] = -1;
    v = prove(&p);
    assert_int_equal(v.best, 0);
    assert_string_equal(v.rationale, "{first} is better than {second}.");
    gram_proved_clear(&v);
    prover_close(&p);
}

static void no_proof_is_whole(void **state)
{
    struct prover p;
    gram_proved v;
    (void)state;

    prover_open(&p, 2);
    p.script = (struct script){ .line = { { "It is." }, { "/" } }, .z = { { -0.1 }, { -0.1 } } };
    v = prove(&p);
    assert_string_equal(v.proof[0].flaw, "names neither answer");
    assert_string_equal(v.dropped, "every proof has a flaw");
    assert_int_equal(v.best, 2);
    gram_proved_clear(&v);
    prover_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_read_as_one), cmocka_unit_test(foreign_marks_stay_text),
        cmocka_unit_test(labels_must_be_one_token), cmocka_unit_test(votes_are_counted), cmocka_unit_test(early_stop),
        cmocka_unit_test(one_vote_and_single_order), cmocka_unit_test(turned_pairs),
        cmocka_unit_test(equal_answers_are_a_tie),
        cmocka_unit_test(an_order_without_a_winner_agrees), cmocka_unit_test(seeds_in_any_company),
        cmocka_unit_test(stored_text_scores_the_same),
        cmocka_unit_test(too_long_is_forced), cmocka_unit_test(json_and_back), cmocka_unit_test(own_formats),
        cmocka_unit_test(last_tags_count), cmocka_unit_test(conclusions), cmocka_unit_test(seats),
        cmocka_unit_test(written_out), cmocka_unit_test(prove_prompts),
        cmocka_unit_test(proofs_are_written_as_asked),
        cmocka_unit_test(best_proof_is_kept), cmocka_unit_test(labels_become_places),
        cmocka_unit_test(no_proof_is_whole),
    };
    int failed;

    tok = bytes_tokenizer(true);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    gr_tok_close(tok);
    return failed;
}
