/* judge.c - a pair of answers as the two token sequences that the model reads.
 *
 * Placeholders are found once, in the judge prompt alone: an answer that holds "{response_b}" stays what it is.
 * Lengths are measured by tokenising what will really be read, in every order that will be read; nothing is
 * estimated, so what is handed out fits. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "reward/scale.h"

enum { INPUT, ANSWER_A, ANSWER_B, CRITERIA, HOLES };

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

/* What the model reads, as chat pieces. */
static gram_status render(const gr_judge *j, const gr_judge_words *w, const gr_str part[HOLES], gr_chat_text *out,
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
    gram_status rc = render(j, &j->words[!j->words[0].text], empty, &t, err);

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
                    : render(j, c->words, part, out, err);
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

static gram_status check_plain(gram_prompt p, gram_err *err)
{
    const char *last = p.n ? p.turn[p.n - 1].role : "no turn";

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
    size_t tokens = 0;
    gram_status rc = j->plain ? check_plain(p, err) : gr_judge_input(pair, input, err);

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
