/* written.c - a pair of answers as a text that the model learns to write: stage 1 of GRAM, see judge.h. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "reward/judge.h"

enum { INPUT, ANSWER_A, ANSWER_B, HOLES };

/* The pieces of the judge prompt that stage 1 takes, in bytes of it: [user, input) and [after input, answer) are the
 * user's, [answer, a), [after a, b) and [after b, end) the assistant's. */
struct marks { size_t user, answer, end; };

static gram_status find_marks(const gr_judge *j, struct marks *m, gram_err *err)
{
    const gr_judge_words *w = &j->words[0];
    const char *p = w->text;
    size_t after_input, after_b;

    if (w->n_holes != HOLES || w->hole[0].which != INPUT || w->hole[1].which != ANSWER_A ||
        w->hole[2].which != ANSWER_B)
        return gr_fail(err, GRAM_EARG, "judge prompt: stage 1 takes its marks from it, and wants {input}, {response_a} "
                       "and {response_b} once each and in this order, and no {criteria}");
    m->user = w->hole[INPUT].at;
    if (m->user > 0)                            /* the mark may stand on the line of the input, or on the one before */
        m->user--;
    while (m->user > 0 && p[m->user - 1] != '\n')
        m->user--;
    after_input = w->hole[INPUT].at + w->hole[INPUT].n;
    m->answer = after_input + strcspn(p + after_input, "\n");
    m->answer = gr_min(m->answer + strspn(p + m->answer, "\n"), w->hole[ANSWER_A].at);
    after_b = w->hole[ANSWER_B].at + w->hole[ANSWER_B].n;
    m->end = after_b + strspn(p + after_b, "\n");
    m->end += strcspn(p + m->end, "\n");
    return GRAM_OK;
}

static bool add(gr_buf *b, const gr_judge *j, size_t from, size_t to)
{
    return gr_buf_add(b, j->words[0].text + from, to - from);
}

static size_t behind(const gr_judge *j, int hole)
{
    return j->words[0].hole[hole].at + j->words[0].hole[hole].n;
}

/* The first special token of the text that the template writes behind an answer; -1: there is none. */
static gram_status first_special(const gr_judge *j, const char *after, int32_t *id, gram_err *err)
{
    gr_ids ids = { 0 };
    gram_status rc = gr_tok_encode_behind(j->tok, after, strlen(after), true, &ids, err);

    *id = -1;
    for (size_t i = 0; i < ids.n && !rc && *id < 0; i++)
        if (gr_tok_is_special(j->tok, ids.p[i]))
            *id = ids.p[i];
    gr_ids_clear(&ids);
    return rc;
}

gram_status gr_judge_turn_end(const gr_judge *j, int32_t *id, gram_err *err)
{
    gr_chat_around around;
    gram_status rc = gr_chat_find_around(&j->chat, &around, err);

    *id = -1;
    if (!rc)
        rc = first_special(j, around.after, id, err);
    gr_chat_around_clear(&around);
    return rc;
}

/* The prompt, the answer and what the template ends it with, as one text. */
static gram_status add_answer(const gr_judge *j, gr_chat_text *t, gr_str answer, gr_ids *ids, gram_err *err)
{
    gr_chat_around around;
    int32_t end;
    bool inst = j->chat.kind == GR_CHAT_LLAMA2 || j->chat.kind == GR_CHAT_MISTRAL;
    const char *before = inst ? j->chat.inst.answer : "", *stop;
    gram_status rc = gr_chat_find_around(&j->chat, &around, err);

    if (rc)
        return rc;
    rc = first_special(j, around.after, &end, err);
    if (!rc && end < 0)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "the chat template %s ends no turn with a token of its own",
                     gr_chat_name(j->chat.kind));
    if (!rc && t->program) {
        gr_str name = gr_tok_text(j->tok, end);
        before = around.before;
        stop = memmem(around.after, strlen(around.after), name.p, name.n);
        if (!gr_chat_text_add(t, true, before, strlen(before)) || !gr_chat_text_add(t, false, answer.p, answer.n)
            || !gr_chat_text_add(t, true, around.after, stop ? (size_t)(stop - around.after) + name.n : 0))
            rc = gr_nomem(err, "pair");
        else
            rc = gr_chat_encode(j->tok, t, ids, err);
    } else if (!rc) {
        gr_buf text = { 0 };
        rc = gr_chat_encode(j->tok, t, ids, err);
        if (!rc && !(gr_buf_puts(&text, before) && gr_buf_add(&text, answer.p, answer.n)))
            rc = gr_nomem(err, "pair");
        if (!rc)
            rc = gr_tok_encode_behind(j->tok, text.p, text.n, false, ids, err);
        if (!rc && !gr_ids_add(ids, &end, 1))
            rc = gr_nomem(err, "pair");
        gr_buf_clear(&text);
    }
    gr_chat_around_clear(&around);
    return rc;
}

static size_t shared(const gr_ids *a, const gr_ids *b)
{
    size_t n = 0;

    while (n < gr_min(a->n, b->n) && a->p[n] == b->p[n])
        n++;
    return n;
}

gram_status gr_judge_written(const gr_judge *j, const gram_pair *pair, gr_ids *ids, size_t *asked, gram_err *err)
{
    struct marks m = { 0 };
    gr_buf input = { 0 }, user = { 0 }, answer = { 0 };
    gr_chat_text t = { 0 };
    gr_ids prompt = { 0 };
    gram_message turn = { "user", NULL };
    gram_status rc = find_marks(j, &m, err);

    if (!rc && pair->prompt.criteria && *pair->prompt.criteria)
        rc = gr_fail(err, GRAM_EARG, "there are criteria to judge by, which stage 1 has no place for");
    if (!rc)
        rc = gr_judge_input(pair, &input, err);
    if (!rc && !(add(&user, j, m.user, j->words[0].hole[INPUT].at) && gr_buf_add(&user, input.p, input.n) &&
                 add(&user, j, behind(j, INPUT), m.answer) &&
                 add(&answer, j, m.answer, j->words[0].hole[ANSWER_A].at) &&
                 gr_buf_puts(&answer, pair->a) && add(&answer, j, behind(j, ANSWER_A), j->words[0].hole[ANSWER_B].at) &&
                 gr_buf_puts(&answer, pair->b) && add(&answer, j, behind(j, ANSWER_B), m.end)))
        rc = gr_nomem(err, "pair");
    turn.content = user.p;
    if (!rc)
        rc = gr_chat_render(&j->chat, &turn, 1, NULL, &t, err);
    if (!rc)
        rc = gr_chat_encode(j->tok, &t, &prompt, err);
    if (!rc)
        rc = add_answer(j, &t, (gr_str){ answer.p, answer.n }, ids, err);
    *asked = shared(&prompt, ids);
    gr_ids_clear(&prompt);
    gr_chat_text_clear(&t);
    gr_buf_clear(&input);
    gr_buf_clear(&user);
    gr_buf_clear(&answer);
    return rc;
}

gram_status gr_judge_reply(const gr_judge *j, gram_prompt prompt, const char *answer, gr_ids *ids, size_t *asked,
                           gram_err *err)
{
    gr_chat_text t = { 0 };
    gr_ids alone = { 0 };
    gram_status rc = gr_chat_render(&j->chat, prompt.turn, prompt.n, prompt.tools, &t, err);

    if (!rc)
        rc = gr_chat_encode(j->tok, &t, &alone, err);
    if (!rc)
        rc = add_answer(j, &t, (gr_str){ answer, strlen(answer) }, ids, err);
    *asked = shared(&alone, ids);
    gr_ids_clear(&alone);
    gr_chat_text_clear(&t);
    return rc;
}
