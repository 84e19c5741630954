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
    const char *p = j->prompt;
    size_t after_input, after_b;

    if (j->n_holes != HOLES || j->hole[0].which != INPUT || j->hole[1].which != ANSWER_A ||
        j->hole[2].which != ANSWER_B)
        return gr_fail(err, GRAM_EARG, "judge prompt: stage 1 takes its marks from it, and wants {input}, {response_a} "
                       "and {response_b} once each and in this order");
    m->user = j->hole[INPUT].at;
    if (m->user > 0)                            /* the mark may stand on the line of the input, or on the one before */
        m->user--;
    while (m->user > 0 && p[m->user - 1] != '\n')
        m->user--;
    after_input = j->hole[INPUT].at + j->hole[INPUT].n;
    m->answer = after_input + strcspn(p + after_input, "\n");
    m->answer = gr_min(m->answer + strspn(p + m->answer, "\n"), j->hole[ANSWER_A].at);
    after_b = j->hole[ANSWER_B].at + j->hole[ANSWER_B].n;
    m->end = after_b + strspn(p + after_b, "\n");
    m->end += strcspn(p + m->end, "\n");
    return GRAM_OK;
}

static bool add(gr_buf *b, const gr_judge *j, size_t from, size_t to)
{
    return gr_buf_add(b, j->prompt + from, to - from);
}

static size_t behind(const gr_judge *j, int hole)
{
    return j->hole[hole].at + j->hole[hole].n;
}

/* The token behind an answer in the template: the first special one after it. */
static gram_status end_of_turn(const gr_judge *j, int32_t *id, gram_err *err)
{
    static const char answer[] = "gram's answer";
    const gram_message turn[] = { { "user", "q" }, { "assistant", answer }, { "user", "q" } };
    gr_chat_text t = { 0 };
    gram_status rc = gr_chat_render(&j->chat, turn, GR_COUNT(turn), NULL, &t, err);
    const char *at = rc ? NULL : strstr(t.text.p, answer);
    size_t i = 0;

    while (at && i < t.n && !(t.piece[i].special && t.piece[i].start > (size_t)(at - t.text.p)))
        i++;
    if (!rc && at && i < t.n) {
        char *name = gr_strndup(t.text.p + t.piece[i].start, t.piece[i].n);
        *id = name ? gr_tok_find(j->tok, name) : -1;
        if (!name)
            rc = gr_nomem(err, "chat template");
        else if (*id < 0)
            rc = gr_fail(err, GRAM_EUNSUPPORTED, "the vocabulary has no token %s, which ends a turn", name);
        free(name);
    } else if (!rc) {
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "the chat template %s ends no turn with a token of its own",
                     gr_chat_name(j->chat.kind));
    }
    gr_chat_text_clear(&t);
    return rc;
}

gram_status gr_judge_written(const gr_judge *j, const gram_pair *pair, gr_ids *ids, size_t *asked, gram_err *err)
{
    bool inst = j->chat.kind == GR_CHAT_LLAMA2 || j->chat.kind == GR_CHAT_MISTRAL;
    struct marks m = { 0 };
    gr_buf input = { 0 }, user = { 0 }, answer = { 0 };
    gr_chat_text t = { 0 };
    gram_message turn = { "user", NULL };
    int32_t end = -1;
    gram_status rc = find_marks(j, &m, err);

    if (!rc)
        rc = gr_judge_input(pair, &input, err);
    if (!rc && !(add(&user, j, m.user, j->hole[INPUT].at) && gr_buf_add(&user, input.p, input.n) &&
                 add(&user, j, behind(j, INPUT), m.answer) &&
                 gr_buf_puts(&answer, inst ? j->chat.inst.answer : "") &&
                 add(&answer, j, m.answer, j->hole[ANSWER_A].at) &&
                 gr_buf_puts(&answer, pair->a) && add(&answer, j, behind(j, ANSWER_A), j->hole[ANSWER_B].at) &&
                 gr_buf_puts(&answer, pair->b) && add(&answer, j, behind(j, ANSWER_B), m.end)))
        rc = gr_nomem(err, "pair");
    turn.content = user.p;
    if (!rc)
        rc = gr_chat_render(&j->chat, &turn, 1, NULL, &t, err);
    if (!rc)
        rc = gr_chat_encode(j->tok, &t, ids, err);
    *asked = ids->n;
    if (!rc)
        rc = gr_tok_encode_behind(j->tok, answer.p, answer.n, false, ids, err);
    if (!rc)
        rc = end_of_turn(j, &end, err);
    if (!rc && !gr_ids_add(ids, &end, 1))
        rc = gr_nomem(err, "pair");
    gr_chat_text_clear(&t);
    gr_buf_clear(&input);
    gr_buf_clear(&user);
    gr_buf_clear(&answer);
    return rc;
}
