/* judge_pair.c - a pair of answers as the two token sequences that the model reads: see judge.h.
 *
 * Lengths are measured by tokenising what will really be read, in every order that will be read; nothing is
 * estimated, so what is handed out fits. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "reward/judge_int.h"

/* ---- Cutting ------------------------------------------------------------------------------------ */

/* A pair's texts, and how much of them is read. Plain: the conversation, and one answer, which is A. */
struct cut {
    gram_prompt prompt;
    const char *extra;          /* plain: the answer's */
    const gr_judge_words *words;
    gr_str whole[HOLES];
    size_t keep[HOLES];         /* bytes; the whole length: nothing is cut */
};

static bool continues(char c) { return ((unsigned char)c & 0xc0) == 0x80; }

/* s less its middle: at most `keep` of its bytes, whole characters, half from the start and half from the end. */
static bool shorten(gr_str s, size_t keep, gr_buf *out)
{
    size_t head = keep - keep / 2, tail = s.n - keep / 2;

    if (keep >= s.n)
        return gr_buf_add(out, s.p, s.n);
    while (head > 0 && continues(s.p[head]))
        head--;
    while (tail < s.n && continues(s.p[tail]))
        tail++;
    return gr_buf_add(out, s.p, head) && gr_buf_puts(out, GR_JUDGE_CUT) && gr_buf_add(out, s.p + tail, s.n - tail);
}

/* The conversation with the question and the answer given; answer NULL: up to where it begins. */
static gram_status render_plain(const gr_judge *j, gram_prompt p, const char *question, const char *answer,
                                const char *extra, gr_chat_text *out, gram_err *err)
{
    gram_message *turn = gr_calloc(p.n + 1, sizeof *turn);
    gram_status rc;

    if (!turn)
        return gr_nomem(err, "pair");
    memcpy(turn, p.turn, p.n * sizeof *turn);
    turn[p.n - 1].content = question;
    turn[p.n] = (gram_message){ "assistant", answer, extra };
    rc = answer ? gr_chat_render_answered(&j->chat, turn, p.n + 1, p.tools, out, err)
                : gr_chat_render(&j->chat, turn, p.n, p.tools, out, err);
    free(turn);
    return rc;
}

/* And what is read of each text, into b. */
static gram_status render_parts(const gr_judge *j, const struct cut *c, bool swapped, gr_buf b[HOLES],
                                gr_chat_text *out, gram_err *err)
{
    gr_str part[HOLES];

    for (int i = 0; i < HOLES; i++) {
        int from = swapped && (i == ANSWER_A || i == ANSWER_B) ? ANSWER_A + ANSWER_B - i : i;
        if (!shorten(c->whole[from], c->keep[from], &b[i]))
            return gr_nomem(err, "pair");
        part[i] = (gr_str){ b[i].p, b[i].n };
    }
    return j->plain ? render_plain(j, c->prompt, b[INPUT].p ? b[INPUT].p : "", b[ANSWER_A].p ? b[ANSWER_A].p : "",
                                   c->extra, out, err)
                    : gr_judge_render(j, c->words, part, out, err);
}

static gram_status render_cut(const gr_judge *j, const struct cut *c, bool swapped, gr_chat_text *out, gram_err *err)
{
    gr_buf b[HOLES] = { { 0 } };
    gram_status rc = render_parts(j, c, swapped, b, out, err);

    for (int i = 0; i < HOLES; i++)
        gr_buf_clear(&b[i]);
    return rc;
}

gram_status gr_judge_end(const gr_judge *j, gr_ids *ids, gram_err *err)
{
    if (j->last >= 0)
        return (ids->n && ids->p[ids->n - 1] == j->last) || gr_ids_add(ids, &j->last, 1) ? GRAM_OK
                                                                                         : gr_nomem(err, "pair");
    while (ids->n > 1 && ids->p[ids->n - 1] == j->pad)
        ids->n--;
    return GRAM_OK;
}

/* Tokenises every order that is read into out, and says how many tokens the longer one takes. */
static gram_status encode(const gr_judge *j, const struct cut *c, bool single_order, gr_judged *out, size_t *tokens,
                          gram_err *err)
{
    gram_status rc = GRAM_OK;

    *tokens = 0;
    for (int i = 0; i < (single_order ? 1 : 2) && !rc; i++) {
        gr_chat_text t = { 0 };
        out->order[i].n = 0;
        rc = render_cut(j, c, i == 1, &t, err);
        if (!rc)
            rc = gr_chat_encode(j->tok, &t, &out->order[i], err);
        if (!rc && j->plain)
            rc = gr_judge_end(j, &out->order[i], err);
        gr_chat_text_clear(&t);
        *tokens = gr_max(*tokens, out->order[i].n);
    }
    return rc;
}

/* The bytes kept of what is being shortened, out of `all`: of the question, or of each answer its share. */
static void set_keep(struct cut *c, bool answers, size_t kept, size_t all)
{
    if (!answers) {
        c->keep[INPUT] = kept;
        return;
    }
    for (int i = ANSWER_A; i <= ANSWER_B; i++)
        c->keep[i] = (size_t)((double)c->whole[i].n * (double)kept / (double)all);
}

/* The most bytes with which everything fits. Tokens grow almost in a straight line with bytes, so the next
 * guess is where the line through what was measured meets the limit, and a few measurements do. */
static gram_status fit(const gr_judge *j, struct cut *c, bool answers, bool single_order, gr_judged *out,
                       size_t low_tokens, size_t high_tokens, gram_err *err)
{
    enum { CLOSE = 8 };         /* tokens given away, to tokenise a few times instead of a dozen */
    size_t all = answers ? c->whole[ANSWER_A].n + c->whole[ANSWER_B].n : c->whole[INPUT].n;
    size_t low = 0, high = all, tokens;
    gram_status rc;

    for (int step = 0; high - low > 1 && j->max_tokens - low_tokens > CLOSE; step++) {
        double at = (double)(j->max_tokens - low_tokens) / (double)(high_tokens - low_tokens);
        size_t mid = step < 6 ? low + (size_t)((double)(high - low) * at) : low + (high - low) / 2;
        mid = gr_min(gr_max(mid, low + 1), high - 1);
        set_keep(c, answers, mid, all);
        rc = encode(j, c, single_order, out, &tokens, err);
        if (rc)
            return rc;
        if (tokens <= j->max_tokens) {
            low = mid;
            low_tokens = tokens;
        } else {
            high = mid;
            high_tokens = tokens;
        }
    }
    set_keep(c, answers, low, all);
    return encode(j, c, single_order, out, &tokens, err);
}

static gram_status balance(const gr_judge *j, struct cut *c, bool single_order, size_t tokens, gr_judged *out,
                           gram_err *err)
{
    size_t without = 0, least;
    gram_status rc;

    out->truncated = true;
    set_keep(c, false, 0, c->whole[INPUT].n);
    rc = encode(j, c, single_order, out, &without, err);
    if (rc)
        return rc;
    if (without <= j->max_tokens)
        return fit(j, c, false, single_order, out, without, tokens, err);
    set_keep(c, true, 0, 1);
    rc = encode(j, c, single_order, out, &least, err);
    if (rc)
        return rc;
    if (least > j->max_tokens && j->plain)
        return gr_fail(err, GRAM_ELIMIT, "the conversation takes %zu tokens without the question and the answer, "
                       "and at most %zu may be read", least, j->max_tokens);
    if (least > j->max_tokens)
        return gr_fail(err, GRAM_ELIMIT, "the judge prompt takes %zu tokens without the question and the answers, "
                       "and at most %zu may be read", least, j->max_tokens);
    return fit(j, c, true, single_order, out, least, without, err);
}

static gram_status too_long(const gr_judge *j, size_t tokens, gram_err *err)
{
    return gr_fail(err, GRAM_ELIMIT, "the %s takes %zu tokens, and at most %zu may be read",
                   j->plain ? "conversation" : "pair", tokens, j->max_tokens);
}

gram_status gr_prompt_check(gram_prompt p, gram_err *err)
{
    gram_status rc = gr_chat_check_texts(p.turn, p.n, err);
    const char *last = p.n ? p.turn[p.n - 1].role : "no turn";

    if (rc)
        return rc;
    if (strcmp(last, "user") && strcmp(last, "tool"))
        return gr_fail(err, GRAM_EARG, "a prompt must end with a turn of the user or of a tool, found %s", last);
    return GRAM_OK;
}

/* A pair with criteria and a judge without a place for them, or the other way round. */
static gram_status check_criteria(const gr_judge *j, bool has, gram_err *err)
{
    if (j->plain && has)
        return gr_fail(err, GRAM_EARG, "there are criteria to judge by, which a reward model does not read");
    if (j->plain || j->words[has].text)
        return GRAM_OK;
    return has ? gr_fail(err, GRAM_EARG, "there are criteria to judge by, and the judge prompt has no {criteria}")
               : gr_fail(err, GRAM_EARG, "the judge prompt has {criteria}, and there are none");
}

/* Settles what is read of the pair: *c borrows from the pair and from input. */
static gram_status judge(const gr_judge *j, const gram_pair *pair, bool single_order, gr_buf *input, struct cut *c,
                         gr_judged *out, gram_err *err)
{
    const gram_prompt p = pair->prompt;
    const char *criteria = p.criteria ? p.criteria : "";
    const gram_message other[] = { { .role = "answer", .content = pair->a }, { .role = "answer", .content = pair->b },
                                   { .role = "criteria", .content = criteria } };
    size_t tokens = 0;
    gram_status rc = j->plain ? gr_prompt_check(p, err) : gr_judge_input(pair, input, err);

    if (!rc)
        rc = gr_chat_check_texts(other, GR_COUNT(other), err);
    if (!rc)
        rc = check_criteria(j, *criteria, err);
    if (rc)
        return rc;
    *c = (struct cut){ .prompt = p, .extra = pair->extra_a, .words = &j->words[*criteria != '\0'],
                       .whole = { { input->p, input->n }, { pair->a, strlen(pair->a) }, { pair->b, strlen(pair->b) },
                                  { criteria, strlen(criteria) } } };
    if (j->plain)
        c->whole[INPUT] = (gr_str){ p.turn[p.n - 1].content, strlen(p.turn[p.n - 1].content) };
    for (int i = 0; i < HOLES; i++)
        c->keep[i] = c->whole[i].n;
    rc = encode(j, c, single_order, out, &tokens, err);
    if (!rc)
        rc = gr_chat_check_some(&out->order[0], err);
    if (rc || tokens <= j->max_tokens)
        return rc;
    switch (j->truncate) {
    case GRAM_TRUNCATE_BALANCED:
        return balance(j, c, single_order, tokens, out, err);
    case GRAM_TRUNCATE_DROP:
        out->dropped = true;
        return GRAM_OK;
    case GRAM_TRUNCATE_ERROR:
        break;
    }
    return too_long(j, tokens, err);
}

/* The ids that the conversation shares with the one that waits for its answer. */
static gram_status find_asked(const gr_judge *j, const struct cut *c, const gr_ids *ids, size_t *asked, gram_err *err)
{
    gr_chat_text t = { 0 };
    gr_ids header = { 0 };
    gr_buf question = { 0 };
    gram_status rc = GRAM_OK;

    if (!shorten(c->whole[INPUT], c->keep[INPUT], &question))
        rc = gr_nomem(err, "pair");
    if (!rc)
        rc = render_plain(j, c->prompt, question.p ? question.p : "", NULL, NULL, &t, err);
    if (!rc)
        rc = gr_chat_encode(j->tok, &t, &header, err);
    for (*asked = 0; !rc && *asked < gr_min(header.n, ids->n) && header.p[*asked] == ids->p[*asked]; )
        ++*asked;
    gr_chat_text_clear(&t);
    gr_ids_clear(&header);
    gr_buf_clear(&question);
    return rc;
}

gram_status gr_judge_answer(const gr_judge *j, gram_prompt prompt, const char *answer, const char *extra,
                            gr_judged *out, size_t *asked, gram_err *err)
{
    const gram_pair one = { .prompt = prompt, .a = answer, .b = "", .extra_a = extra };
    gr_buf input = { 0 };
    struct cut c;
    gram_status rc;

    *out = (gr_judged){ 0 };
    rc = judge(j, &one, true, &input, &c, out, err);
    if (!rc && asked && !out->dropped)
        rc = find_asked(j, &c, &out->order[0], asked, err);
    if (rc)
        gr_judged_clear(out);
    gr_buf_clear(&input);
    return rc;
}

/* A pair as two conversations. */
static gram_status judge_plain(const gr_judge *j, const gram_pair *pair, bool single, gr_judged *out, gram_err *err)
{
    const char *answer[] = { pair->a, pair->b }, *extra[] = { pair->extra_a, pair->extra_b };
    gram_status rc = GRAM_OK;

    for (int i = 0; i < (single ? 1 : 2) && !rc; i++) {
        gr_judged each;
        rc = gr_judge_answer(j, pair->prompt, answer[i], extra[i], &each, NULL, err);
        out->order[i] = each.order[0];
        out->truncated |= each.truncated;
        out->dropped |= each.dropped;
    }
    return rc;
}

gram_status gr_judge_pair(const gr_judge *j, const gram_pair *pair, bool single_order, gr_judged *out, gram_err *err)
{
    gr_buf input = { 0 };
    struct cut c;
    gram_status rc;

    *out = (gr_judged){ 0 };
    rc = j->plain || j->pointwise ? judge_plain(j, pair, single_order, out, err)
                  : judge(j, pair, single_order, &input, &c, out, err);
    if (rc)
        gr_judged_clear(out);
    else if (out->dropped)
        for (int i = 0; i < 2; i++)
            gr_ids_clear(&out->order[i]);
    gr_buf_clear(&input);
    return rc;
}

void gr_judged_clear(gr_judged *j)
{
    gr_ids_clear(&j->order[0]);
    gr_ids_clear(&j->order[1]);
    *j = (gr_judged){ 0 };
}

gram_status gr_judge_show(const gr_judge *j, const gram_pair *pair, bool swapped, gr_buf *out, gram_err *err)
{
    const gram_pair one = { pair->prompt, swapped ? pair->b : pair->a, "", swapped ? pair->extra_b : pair->extra_a };
    gr_judged ids = { 0 };
    gr_chat_text t = { 0 };
    gr_buf input = { 0 };
    struct cut c;
    bool alone = j->plain || j->pointwise;
    gram_status rc = judge(j, alone ? &one : pair, alone, &input, &c, &ids, err);

    if (!rc && ids.dropped)
        rc = too_long(j, gr_max(ids.order[0].n, ids.order[1].n), err);
    if (!rc)
        rc = render_cut(j, &c, swapped && !alone, &t, err);
    if (!rc && !gr_buf_add(out, t.text.p, t.text.n))
        rc = gr_nomem(err, "prompt");
    gr_chat_text_clear(&t);
    gr_judged_clear(&ids);
    gr_buf_clear(&input);
    return rc;
}

gram_status gr_judge_texts(const gr_judge *j, const gram_pair *pair, bool both, gr_judge_text out[2], gram_err *err)
{
    gr_judged ids = { 0 };
    gr_buf input = { 0 };
    struct cut c;
    gram_status rc = judge(j, pair, !both, &input, &c, &ids, err);

    out[0] = out[1] = (gr_judge_text){ 0 };
    for (int i = 0; i < (both ? 2 : 1) && !rc; i++) {
        out[i].words = c.words;
        out[i].truncated = ids.truncated;
        out[i].dropped = ids.dropped;
        if (!ids.dropped)
            rc = render_parts(j, &c, i == 1, out[i].part, &out[i].chat, err);
    }
    if (rc)
        for (int i = 0; i < 2; i++)
            gr_judge_text_clear(&out[i]);
    gr_judged_clear(&ids);
    gr_buf_clear(&input);
    return rc;
}

void gr_judge_text_clear(gr_judge_text *t)
{
    for (int i = 0; i < HOLES; i++)
        gr_buf_clear(&t->part[i]);
    gr_chat_text_clear(&t->chat);
    *t = (gr_judge_text){ 0 };
}
