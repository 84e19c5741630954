/* transcript.c - conversations written into one text, with marks where a turn begins.
 *
 *     HH            "\n\nHuman: Hi\n\nAssistant: Hello!"; some sets have lost the empty line before the first mark
 *     extra_id      "Hi\n<extra_id_1>Assistant\nHello!\n<extra_id_1>User\n...", as NVIDIA's sets write it
 *
 * Other marks stand for a text that a template has rendered, or for a family of sets with conventions of its own
 * (whose system text, whose white space?): a text that begins with such a mark and has its partner is refused by name,
 * for as a user's message it would be scored as something that nobody wrote. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "data/rows_int.h"

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* ---- Human and Assistant ------------------------------------------------------------------------- */

/* The bytes of the mark at s with which a turn begins; 0 where there is none. */
static size_t mark_at(const char *s, const char **role)
{
    static const struct { const char *mark, *role; } known[] = { { "\n\nHuman:", "user" },
                                                                 { "\n\nAssistant:", "assistant" } };

    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (!strncmp(s, known[i].mark, strlen(known[i].mark))) {
            *role = known[i].role;
            return strlen(known[i].mark);
        }
    return 0;
}

/* The next mark from s on, or the end. */
static const char *next_mark(const char *s)
{
    const char *p, *role;

    while ((p = strstr(s, "\n\n")) && !mark_at(p, &role))
        s = p + 1;
    return p ? p : s + strlen(s);
}

/* Behind the first "Human:" of a transcript; NULL: it is none. */
static const char *first_turn(const char *s)
{
    static const char human[] = "Human:";
    const char *p = s + strspn(s, " \t\r\n");
    const char *role;

    if (strncmp(p, human, sizeof human - 1))
        return NULL;
    p += sizeof human - 1;
    if (mark_at(s, &role) || strstr(p, "\n\nAssistant:"))
        return p;
    return NULL;
}

static gram_status read_marked(const gr_at *at, const char *s, gr_talk *out)
{
    const char *p = first_turn(s), *role = "user", *next;
    gram_status rc = GRAM_OK;

    while (!rc) {
        const char *end = next = next_mark(p);
        size_t n;
        while (p < end && is_blank(*p))
            p++;
        while (end > p && is_blank(end[-1]))
            end--;
        rc = gr_talk_add(at, out, role, p, (size_t)(end - p));
        n = mark_at(next, &role);
        if (!n)
            break;
        p = next + n;
    }
    return rc;
}

/* ---- <extra_id_1> ------------------------------------------------------------------------------- */

static const char turn_mark[] = "<extra_id_1>", system_mark[] = "<extra_id_0>";

/* The first mark that begins a line, from s on; NULL: there is none. */
static const char *next_extra(const char *text, const char *s)
{
    while ((s = strstr(s, "<extra_id_"))) {
        if ((s == text || s[-1] == '\n') && (!strncmp(s, turn_mark, sizeof turn_mark - 1) ||
                                             !strncmp(s, system_mark, sizeof system_mark - 1)))
            return s;
        s++;
    }
    return NULL;
}

/* A turn's text ends before the line end that the next mark's line begins behind. */
static gram_status add_until(const gr_at *at, const char *text, const char *role, const char *p, const char *next,
                             gr_talk *out)
{
    const char *end = next ? next : p + strlen(p);

    if (next && end > text && end > p)
        end--;
    return gr_talk_add(at, out, role, p, (size_t)(end - p));
}

static gram_status read_extra_id(const gr_at *at, const char *key, const char *s, gr_talk *out)
{
    const char *next = next_extra(s, s), *p;
    gram_status rc = next > s ? add_until(at, s, "user", s, next, out) : GRAM_OK;

    while (next && !rc) {
        size_t n;
        char word[16] = "";
        const char *role;

        p = next + sizeof turn_mark - 1;
        n = strcspn(p, "\n");
        memcpy(word, p, gr_min(n, sizeof word - 1));
        role = gr_role_named(word);
        if (!role)
            return gr_bad(at, "key \"%s\": a turn mark <extra_id_1> of \"%s\", wanted User, Assistant or System", key,
                          word);
        p += n + (p[n] == '\n');
        next = next_extra(s, p);
        rc = add_until(at, s, role, p, next, out);
    }
    return rc;
}

/* ---- What a text is ----------------------------------------------------------------------------- */

bool gr_text_is_transcript(const char *s, bool first)
{
    const char *extra = next_extra(s, s);

    return first_turn(s) || (extra && (extra == s || !first));
}

gram_status gr_transcript_read(const gr_at *at, const char *key, const char *s, gr_talk *out)
{
    return first_turn(s) ? read_marked(at, s, out) : read_extra_id(at, key, s, out);
}

static const char *skip(const char *s, const char *word)
{
    s += strspn(s, " \t\r\n");
    return strncmp(s, word, strlen(word)) ? s : s + strlen(word);
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);

    while (n && is_blank(s[n - 1]))
        n--;
    return n > k && !memcmp(s + n - k, end, k);
}

gram_status gr_text_check(const gr_at *at, const char *key, const char *s)
{
    static const struct { const char *first, *partner; } mark[] = {
        { "<|im_start|>", "<|im_start|>assistant" },
        { "<|start_header_id|>", "<|start_header_id|>assistant" },
        { "<start_of_turn>", "<start_of_turn>model" },
        { "[INST]", "[/INST]" },
        { "<|user|>", "<|assistant|>" }, { "<|system|>", "<|assistant|>" }, { "<|prompter|>", "<|assistant|>" },
        { "### Human:", "### Assistant:" }, { "### Instruction:", "### Response:" },
        { "Human:", "\nAssistant:" }, { "User:", "\nAssistant:" }, { "USER:", "ASSISTANT:" },
        { "prompter:", "assistant:" },
    };
    const char *p = skip(skip(skip(s, "<|begin_of_text|>"), "<s>"), "<bos>");

    p += strspn(p, " \t\r\n");
    for (size_t i = 0; i < GR_COUNT(mark); i++)
        if (!strncmp(p, mark[i].first, strlen(mark[i].first)) && strstr(p, mark[i].partner))
            return gr_bad(at, "key \"%s\": a conversation written into one text, with turns marked %s and %s: wanted a "
                          "list of messages", key, mark[i].first, mark[i].partner + strspn(mark[i].partner, "\n"));
    if (ends_with(s, "\n\nAssistant:"))
        return gr_bad(at, "key \"%s\": a transcript with turns marked Assistant: that does not begin with Human: :"
                      " wanted a list of messages", key);
    return GRAM_OK;
}
