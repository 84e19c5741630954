/* denoise.c - see denoise.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "base/utf8.h"
#include "rationale/denoise.h"
#include "rationale/format.h"

#define BIT(rule) (1u << GRAM_RULE_##rule)

const char *gram_rule_name(gram_rule rule)
{
    static const char *const name[GRAM_RULES] = {
        [GRAM_RULE_JUDGED] = "judged", [GRAM_RULE_SHARE] = "vote-share", [GRAM_RULE_PROBABILITY] = "probability",
        [GRAM_RULE_CLOSED] = "closed", [GRAM_RULE_LENGTH] = "length", [GRAM_RULE_LABEL] = "label",
        [GRAM_RULE_BOTH] = "both", [GRAM_RULE_AGREES] = "agrees", [GRAM_RULE_REPEATS] = "repeats",
    };

    return (size_t)rule < GRAM_RULES ? name[rule] : "unknown";
}

void gram_denoise_options_init(gram_denoise_options *o)
{
    *o = (gram_denoise_options){ 0.75, 0.75, 0.5, 20, 512, 4, true, true, true, true };
}

size_t gr_denoise_first(unsigned broke)
{
    size_t i = 0;

    while (i < GRAM_RULES && !(broke >> i & 1))
        i++;
    return i;
}

/* ---- Words that come again ------------------------------------------------------------------------ */

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* The word at or behind *at, where it then ends; empty: there is none. */
static gr_str next_word(gr_str s, size_t *at)
{
    size_t from;

    while (*at < s.n && is_space(s.p[*at]))
        ++*at;
    from = *at;
    while (*at < s.n && !is_space(s.p[*at])) {
        size_t n = gr_utf8_len(s.p[*at]);
        bool alone = n >= 3 && gr_utf8_get(s.p + *at) >= 0x2e80;
        if (alone && *at > from)
            break;
        *at += n;
        if (alone)
            break;
    }
    return (gr_str){ s.p + from, *at - from };
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* The digests of all runs of GR_GRAM words, *n of them; there are no more words than bytes. */
static void digest_runs(gr_str s, uint64_t *out, size_t *n)
{
    uint64_t word[GR_GRAM];
    size_t at = 0, words = 0;

    *n = 0;
    for (gr_str w = next_word(s, &at); w.n; w = next_word(s, &at)) {
        word[words++ % GR_GRAM] = gr_digest(GR_DIGEST, w.p, w.n);
        if (words < GR_GRAM)
            continue;
        out[*n] = GR_DIGEST;
        for (size_t i = 0; i < GR_GRAM; i++)
            out[*n] = gr_digest(out[*n], &word[(words + i) % GR_GRAM], sizeof *word);
        ++*n;
    }
}

gram_status gr_repeats(gr_str text, size_t *most, gram_err *err)
{
    uint64_t *run = gr_calloc(text.n, sizeof *run);
    size_t n, same = 0;

    *most = 0;
    if (!run)
        return gr_nomem(err, "a rationale");
    digest_runs(text, run, &n);
    qsort(run, n, sizeof *run, by_value);
    for (size_t i = 0; i < n; i++) {
        same = i && run[i] == run[i - 1] ? same + 1 : 1;
        *most = gr_max(*most, same);
    }
    free(run);
    return GRAM_OK;
}

/* ---- Rules ---------------------------------------------------------------------------------------- */

/* The rules on its text that a rationale breaks. */
static gram_status ask_text(const gram_rationale *r, const char *const label[2], int winner,
                            const gram_denoise_options *o, unsigned *broke, gram_err *err)
{
    gr_str text = { r->text, strlen(r->text) };
    int seat = winner == 0 ? r->swapped : !r->swapped;
    bool named[2] = { gr_names_answer(label, text, 0), gr_names_answer(label, text, 1) };
    size_t most = 0;
    gram_status rc = o->repeats ? gr_repeats(text, &most, err) : GRAM_OK;

    *broke = (r->status == GRAM_RATIONALE_CLOSED ? 0 : BIT(CLOSED)) |
             (r->tokens >= o->least_tokens && r->tokens <= o->most_tokens ? 0 : BIT(LENGTH)) |
             (named[seat] ? 0 : BIT(LABEL)) | (named[0] && named[1] ? 0 : BIT(BOTH)) |
             (r->contradicts ? BIT(AGREES) : 0) | (most > o->repeats ? BIT(REPEATS) : 0);
    return rc;
}

/* Rules that nobody asks are broken by none. */
static unsigned asked(const gram_denoise_options *o)
{
    return ~((o->closed ? 0 : BIT(CLOSED)) | (o->label ? 0 : BIT(LABEL)) | (o->both ? 0 : BIT(BOTH)) |
             (o->agrees ? 0 : BIT(AGREES)));
}

static gram_status ask_texts(const gram_reasoned *v, const char *const label[2], const gram_denoise_options *o,
                             gr_denoised *out, gram_err *err)
{
    size_t broke[GRAM_RULES] = { 0 };
    gram_status rc = GRAM_OK;

    for (size_t j = 0; j < v->n && !rc; j++) {
        unsigned b;
        rc = ask_text(&v->rationale[j], label, out->winner, o, &b, err);
        for (size_t i = 0; i < GRAM_RULES; i++)
            broke[i] += b >> i & 1;
    }
    for (size_t i = GRAM_RULE_CLOSED; i < GRAM_RULES; i++)
        if ((double)(v->n - broke[i]) < o->sound * (double)v->n)
            out->broke |= 1u << i;
    out->broke &= asked(o);
    return rc;
}

gram_status gr_denoise(const gram_reasoned *v, const char *const label[2], const gram_denoise_options *o,
                       gr_denoised *out, gram_err *err)
{
    const gram_verdict *g = &v->verdict;
    bool b;

    *out = (gr_denoised){ -1, NAN, { NAN, NAN }, BIT(JUDGED) };
    if (!v->n || g->preference == 0.5 || isnan(g->p_forward) || isnan(g->p_swapped))
        return GRAM_OK;
    b = g->preference < 0.5;
    *out = (gr_denoised){ b, b ? 1 - v->hard : v->hard, { b ? 1 - g->p_forward : g->p_forward,
                                                          b ? 1 - g->p_swapped : g->p_swapped }, 0 };
    out->broke = (out->share >= o->share ? 0 : BIT(SHARE)) |
                 (out->p[0] >= o->probability && out->p[1] >= o->probability ? 0 : BIT(PROBABILITY));
    return ask_texts(v, label, o, out, err);
}
