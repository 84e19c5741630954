/* judge.c - the judge prompt, the tokens of its labels, and the text of a question.
 *
 * Placeholders are found once, in the judge prompt alone: an answer that holds "{response_b}" stays what it is. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "reward/judge_int.h"
#include "reward/scale.h"

/* Of a pair, and of one answer. */
static const struct { const char *name; int which; } placeholder[] = {
    { "{input}", INPUT },           { "{user_input}", INPUT },
    { "{response_a}", ANSWER_A },   { "{response_1}", ANSWER_A },
    { "{response_b}", ANSWER_B },   { "{response_2}", ANSWER_B },
    { "{criteria}", CRITERIA },
}, placeholder_one[] = {
    { "{input}", INPUT },           { "{user_input}", INPUT },
    { "{response}", ANSWER_A },     { "{answer}", ANSWER_A },
    { "{criteria}", CRITERIA },
};
static const char optional[] = "{criteria?}";
static const char criteria_words[] = "Judge by these criteria before all else:\n{criteria}\n\n";

/* ---- The judge prompt --------------------------------------------------------------------------- */

/* The first placeholder in s, how long it is and what it stands for; NULL: there is none. */
static const char *find_placeholder(const char *s, bool one, size_t *n, int *which)
{
    for (; *s; s++)
        for (size_t i = 0; i < (one ? GR_COUNT(placeholder_one) : GR_COUNT(placeholder)); i++) {
            const char *name = one ? placeholder_one[i].name : placeholder[i].name;
            *n = strlen(name);
            *which = one ? placeholder_one[i].which : placeholder[i].which;
            if (!strncmp(s, name, *n))
                return s;
        }
    return NULL;
}

static void find_all(const char *text, bool one, bool found[HOLES])
{
    size_t n;
    int which;

    for (const char *p = text; (p = find_placeholder(p, one, &n, &which)); p += n)
        found[which] = true;
}

gram_status gram_check_pointwise_prompt(const char *text, gram_err *err)
{
    bool found[HOLES] = { false };

    find_all(text, true, found);
    for (int i = 0; i < ANSWER_B; i++)
        if (!found[i])
            return gr_fail(err, GRAM_EARG, "judge prompt: no %s (or %s) in it", placeholder_one[2 * i].name,
                           placeholder_one[2 * i + 1].name);
    return GRAM_OK;
}

gram_status gram_check_judge_prompt(const char *text, gram_err *err)
{
    bool found[HOLES] = { false };

    find_all(text, false, found);
    for (int i = 0; i < CRITERIA; i++)
        if (!found[i])
            return gr_fail(err, GRAM_EARG, "judge prompt: no %s (or %s) in it", placeholder[2 * i].name,
                           placeholder[2 * i + 1].name);
    return GRAM_OK;
}

static gram_status find_holes(gr_judge_words *w, bool one, gram_err *err)
{
    size_t braces = 0, n;
    int which;

    for (const char *p = w->text; *p; p++)
        braces += *p == '{';
    w->hole = gr_calloc(braces, sizeof *w->hole);
    if (!w->hole)
        return gr_nomem(err, "judge prompt");
    for (const char *p = w->text; (p = find_placeholder(p, one, &n, &which)); p += n)
        w->hole[w->n_holes++] = (struct gr_judge_hole){ (size_t)(p - w->text), n, which };
    return GRAM_OK;
}

/* The prompt with `in` in place of each {criteria?}. */
static char *replace_optional(const char *prompt, const char *in)
{
    gr_buf b = { 0 };
    bool ok = gr_buf_puts(&b, "");
    const char *p = prompt;

    for (const char *at; ok && (at = strstr(p, optional)); p = at + sizeof optional - 1)
        ok = gr_buf_add(&b, p, (size_t)(at - p)) && gr_buf_puts(&b, in);
    if (ok && gr_buf_puts(&b, p))
        return b.p;
    gr_buf_clear(&b);
    return NULL;
}

/* What is read of pairs with criteria and without. */
static gram_status find_words(gr_judge *j, gram_err *err)
{
    bool place = strstr(j->prompt, "{criteria}"), either = strstr(j->prompt, optional);
    gram_status rc = (j->pointwise ? gram_check_pointwise_prompt : gram_check_judge_prompt)(j->prompt, err);

    for (int i = 0; i < 2 && !rc; i++) {
        if (i ? !place && !either : place)
            continue;
        j->words[i].text = replace_optional(j->prompt, i ? criteria_words : "");
        rc = j->words[i].text ? find_holes(&j->words[i], j->pointwise, err) : gr_nomem(err, "judge prompt");
    }
    return rc;
}

static bool fill(const gr_judge_words *w, const gr_str part[HOLES], gr_buf *out)
{
    size_t at = 0;

    for (size_t i = 0; i < w->n_holes; i++) {
        gr_str s = part[w->hole[i].which];
        if (!gr_buf_add(out, w->text + at, w->hole[i].at - at) || !gr_buf_add(out, s.p, s.n))
            return false;
        at = w->hole[i].at + w->hole[i].n;
    }
    return gr_buf_puts(out, w->text + at);
}

gram_status gr_judge_render(const gr_judge *j, const gr_judge_words *w, const gr_str part[HOLES], gr_chat_text *out,
                            gram_err *err)
{
    gr_buf b = { 0 };
    gram_message m = { .role = "user" };
    gram_status rc = fill(w, part, &b) ? GRAM_OK : gr_nomem(err, "judge prompt");

    m.content = b.p;
    if (!rc)
        rc = gr_chat_render(&j->chat, &m, 1, NULL, out, err);
    gr_buf_clear(&b);
    return rc;
}

/* ---- Labels ------------------------------------------------------------------------------------- */

/* The ids of a program's text with `more` behind it, which is text. */
static gram_status encode_more(const gr_judge *j, const gr_chat_text *t, const char *more, gr_ids *out, gram_err *err)
{
    gr_chat_text all = { .program = true };
    bool ok = true;
    gram_status rc;

    for (size_t i = 0; i < t->n && ok; i++)
        ok = gr_chat_text_add(&all, t->piece[i].special, t->text.p + t->piece[i].start, t->piece[i].n);
    rc = ok && gr_chat_text_add(&all, false, more, strlen(more)) ? gr_chat_encode(j->tok, &all, out, err)
                                                                 : gr_nomem(err, "label");
    gr_chat_text_clear(&all);
    return rc;
}

/* The ids of the rendered text's last run of text with `more` behind it; of a program's text all ids. */
static gram_status encode_tail(const gr_judge *j, const gr_chat_text *t, const char *more, gr_ids *out, gram_err *err)
{
    const gr_chat_piece *last = &t->piece[t->n - 1];
    gr_buf b = { 0 };
    gram_status rc = GRAM_OK;

    if (t->program)
        return encode_more(j, t, more, out, err);
    if (!gr_buf_add(&b, t->text.p + last->start, last->special ? 0 : last->n) || !gr_buf_puts(&b, more))
        rc = gr_nomem(err, "label");
    else if (b.n)
        rc = (t->n > 1 || last->special ? gr_tok_encode_behind : gr_tok_encode)(j->tok, b.p, b.n, false, out, err);
    gr_buf_clear(&b);
    return rc;
}

/* Tries `space` and label behind the tail; *id is the one token that it adds, or -1. *n is how many it takes. */
static gram_status try_label(const gr_judge *j, const gr_chat_text *t, const char *space, const char *label,
                             int32_t *id, size_t *n, gram_err *err)
{
    gr_ids tail = { 0 }, all = { 0 };
    gr_buf text = { 0 };
    gram_status rc = GRAM_OK;

    *id = -1;
    if (!gr_buf_puts(&text, space) || !gr_buf_puts(&text, label))
        rc = gr_nomem(err, "label");
    if (!rc)
        rc = encode_tail(j, t, "", &tail, err);
    if (!rc)
        rc = encode_tail(j, t, text.p, &all, err);
    if (!rc) {
        size_t same = 0;
        while (same < tail.n && same < all.n && tail.p[same] == all.p[same])
            same++;
        *n = all.n - same;
        if (same == tail.n && *n == 1)
            *id = all.p[same];
    }
    gr_buf_clear(&text);
    gr_ids_clear(&tail);
    gr_ids_clear(&all);
    return rc;
}

/* What a template writes before an answer, or else the space that SentencePiece puts before every text, unless the
 * prompt ends in white space. *space is to be freed. */
static gram_status space_before(const gr_judge *j, const gr_chat_text *t, char **space, gram_err *err)
{
    bool inst = j->chat.kind == GR_CHAT_LLAMA2 || j->chat.kind == GR_CHAT_MISTRAL;
    bool program = j->chat.kind == GR_CHAT_JINJA;
    const char *last = t->text.n ? t->text.p + t->text.n - 1 : "\n";
    bool spaced = (inst || (program && !strchr(" \n\t", *last))) && !strcmp(gr_tok_kind(j->tok), "SentencePiece BPE");
    gr_chat_around around = { 0 };

    if (program && gr_chat_find_around(&j->chat, &around, err) == GRAM_ENOMEM)
        return GRAM_ENOMEM;
    *space = gr_strdup(around.before && *around.before ? around.before : spaced ? " "
                       : inst ? j->chat.inst.answer : "");
    gr_chat_around_clear(&around);
    return *space ? GRAM_OK : gr_nomem(err, "label");
}

/* The token with which the model would begin to write the label. Templates that answer with a space write it, or leave
 * it to SentencePiece. So the label that the model was trained to write is the one with a space; where that takes two
 * tokens (a space of the tokenizer's own comes on top) the bare label is right. */
static gram_status find_label(gr_judge *j, const gr_chat_text *t, const char *space, int which, gram_err *err)
{
    const char *label = j->label_text[which];
    size_t n = 0;
    gram_status rc = try_label(j, t, space, label, &j->label[which], &n, err);

    if (!rc && j->label[which] < 0 && *space)
        rc = try_label(j, t, "", label, &j->label[which], &n, err);
    if (!rc && j->label[which] < 0)
        rc = gr_fail(err, GRAM_EARG, "label \"%s\": wanted one token after the header of the answer, found %zu", label,
                     n);
    return rc;
}

static gram_status find_labels(gr_judge *j, gram_err *err)
{
    static const gr_str empty[HOLES] = { { "", 0 }, { "", 0 }, { "", 0 }, { "", 0 } };
    gr_chat_text t = { 0 };
    char *space = NULL;
    gram_status rc = gr_judge_render(j, &j->words[!j->words[0].text], empty, &t, err);

    if (!rc)
        rc = space_before(j, &t, &space, err);
    for (int i = 0; i < 2 && !rc; i++)
        rc = find_label(j, &t, space, i, err);
    free(space);
    if (!rc && j->label[0] == j->label[1])
        rc = gr_fail(err, GRAM_EARG, "labels \"%s\" and \"%s\" are the same token to this tokenizer",
                     j->label_text[0], j->label_text[1]);
    gr_chat_text_clear(&t);
    return rc;
}

/* All but the labels' tokens. */
static gram_status init(gr_judge *j, gr_chat *chat, const gr_tok *tok, const char *prompt, bool pointwise,
                        const char *label_a, const char *label_b, size_t max_tokens, gram_truncate truncate,
                        gram_err *err)
{
    const char *own = pointwise ? gr_judge_pointwise : gr_judge_default;

    *j = (gr_judge){ .chat = *chat, .tok = tok, .pad = -1, .last = -1, .max_tokens = max_tokens, .truncate = truncate,
                     .pointwise = pointwise };
    *chat = (gr_chat){ 0 };
    j->own = !prompt || !strcmp(prompt, own);
    j->prompt = gr_strdup(prompt ? prompt : own);
    j->label_text[0] = gr_strdup(label_a ? label_a : pointwise ? "Yes" : "A");
    j->label_text[1] = gr_strdup(label_b ? label_b : pointwise ? "No" : "B");
    if (!j->prompt || !j->label_text[0] || !j->label_text[1])
        return gr_nomem(err, "judge prompt");
    return find_words(j, err);
}

static gram_status init_labelled(gr_judge *j, gr_chat *chat, const gr_tok *tok, const char *prompt, bool pointwise,
                                 const char *label_a, const char *label_b, size_t max_tokens, gram_truncate truncate,
                                 gram_err *err)
{
    gram_status rc = init(j, chat, tok, prompt, pointwise, label_a, label_b, max_tokens, truncate, err);

    if (!rc)
        rc = find_labels(j, err);
    if (rc)
        gr_judge_clear(j);
    return rc;
}

gram_status gr_judge_init(gr_judge *j, gr_chat *chat, const gr_tok *tok, const char *prompt,
                          const char *label_a, const char *label_b, size_t max_tokens, gram_truncate truncate,
                          gram_err *err)
{
    return init_labelled(j, chat, tok, prompt, false, label_a, label_b, max_tokens, truncate, err);
}

gram_status gr_judge_init_pointwise(gr_judge *j, gr_chat *chat, const gr_tok *tok, const char *prompt,
                                    const char *label_a, const char *label_b, size_t max_tokens, gram_truncate truncate,
                                    gram_err *err)
{
    return init_labelled(j, chat, tok, prompt, true, label_a, label_b, max_tokens, truncate, err);
}

/* gram's own words name the range. */
gram_status gr_judge_init_scale(gr_judge *j, gr_chat *chat, const gr_tok *tok, const char *prompt, const char *range,
                                size_t max_tokens, gram_truncate truncate, gram_err *err)
{
    gr_buf own = { 0 };
    size_t low = 0, n = 0;
    gram_status rc = gr_scale_parse(range, &low, &n, err);

    *j = (gr_judge){ 0 };
    if (!rc && !gr_judge_scale_prompt(&own, low, low + n - 1))
        rc = gr_nomem(err, "judge prompt");
    if (rc)
        gr_chat_clear(chat);
    else
        rc = init(j, chat, tok, prompt ? prompt : own.p, true, range, "mean", max_tokens, truncate, err);
    j->own = !rc && (!prompt || !strcmp(prompt, own.p));
    j->label[0] = j->label[1] = -1;
    if (!rc)
        rc = gr_scale_open(&j->scale, j, range, err);
    if (rc)
        gr_judge_clear(j);
    gr_buf_clear(&own);
    return rc;
}

gram_status gr_judge_init_writing(gr_judge *j, gr_chat *chat, const gr_tok *tok, const char *prompt, size_t max_tokens,
                                  gram_truncate truncate, gram_err *err)
{
    gram_status rc = init(j, chat, tok, prompt, false, NULL, NULL, max_tokens, truncate, err);

    j->label[0] = j->label[1] = -1;
    if (rc)
        gr_judge_clear(j);
    return rc;
}

void gr_judge_init_plain(gr_judge *j, gr_chat *chat, const gr_tok *tok, int32_t pad, size_t max_tokens,
                         gram_truncate truncate)
{
    *j = (gr_judge){ .chat = *chat, .tok = tok, .plain = true, .pad = pad, .last = -1, .max_tokens = max_tokens,
                     .truncate = truncate };
    *chat = (gr_chat){ 0 };
}

gram_status gr_judge_mark_prompt(gr_judge *j, gram_err *err)
{
    static const struct { const char *token, *text; } family[] = {
        { "<|eot_id|>", "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n" },
        { "<end_of_turn>", "<end_of_turn>\n<start_of_turn>model\n" },
    };

    for (size_t i = 0; i < GR_COUNT(family); i++) {
        gram_status rc;
        j->gate_mark.n = 0;
        rc = gr_tok_encode(j->tok, family[i].token, strlen(family[i].token), true, &j->gate_mark, err);
        if (rc || j->gate_mark.n != 1) {
            if (rc)
                return rc;
            continue;
        }
        j->gate_mark.n = 0;
        j->gate_text = family[i].text;
        return gr_tok_encode(j->tok, j->gate_text, strlen(j->gate_text), true, &j->gate_mark, err);
    }
    return gr_fail(err, GRAM_EUNSUPPORTED, "the reward head weighs its outputs by what stands before \"<|eot_id|>\" or "
                   "\"<end_of_turn>\", and the tokenizer has neither");
}

void gr_judge_clear(gr_judge *j)
{
    gr_chat_clear(&j->chat);
    gr_scale_close(j->scale);
    gr_ids_clear(&j->gate_mark);
    free(j->prompt);
    for (int i = 0; i < 2; i++) {
        free(j->words[i].text);
        free(j->words[i].hole);
    }
    free(j->label_text[0]);
    free(j->label_text[1]);
    *j = (gr_judge){ 0 };
}

/* ---- The question ------------------------------------------------------------------------------- */

gram_status gr_judge_input(const gram_pair *pair, gr_buf *out, gram_err *err)
{
    static const char *const role[][2] = { { "system", "System: " }, { "user", "User: " },
                                           { "assistant", "Assistant: " } };
    const gram_message answer[] = { { "answer a", pair->a, pair->extra_a }, { "answer b", pair->b, pair->extra_b } };
    const gram_prompt p = pair->prompt;
    gram_status rc = gr_chat_check_extra("a judge prompt", NULL, p.turn, p.n, p.tools, err);

    if (!rc)
        rc = gr_chat_check_extra("a judge prompt", NULL, answer, GR_COUNT(answer), NULL, err);
    if (rc)
        return rc;
    if (!p.n || strcmp(p.turn[p.n - 1].role, "user"))
        return gr_fail(err, GRAM_EARG, "a prompt must end with a turn of the user, found %s",
                       p.n ? p.turn[p.n - 1].role : "no turn");
    if (p.n == 1)
        return gr_buf_puts(out, p.turn[0].content) ? GRAM_OK : gr_nomem(err, "prompt");
    for (size_t i = 0; i < p.n; i++) {
        size_t k = 0;
        while (k < GR_COUNT(role) && strcmp(p.turn[i].role, role[k][0]))
            k++;
        if (k == GR_COUNT(role))
            return gr_fail(err, GRAM_EARG, "turn %zu of a prompt: role \"%s\" is not system, user or assistant", i + 1,
                           p.turn[i].role);
        if (!gr_buf_puts(out, i ? "\n\n" : "") || !gr_buf_puts(out, role[k][1])
            || !gr_buf_puts(out, p.turn[i].content))
            return gr_nomem(err, "prompt");
    }
    return GRAM_OK;
}
