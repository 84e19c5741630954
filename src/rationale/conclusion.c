/* conclusion.c - what a rationale itself says, as far as plain words can be relied on: to count rationales that say one
 * thing and decide another, never to find a verdict. */
#include <ctype.h>
#include <string.h>
#include <strings.h>
#include "base/err.h"
#include "rationale/format.h"

typedef struct { size_t start, end; int seat; } mention;

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80 || c == '_';
}

/* Behind a noun at s[at..): the seat whose label or number follows, and where that ends. */
static int seat_at(const char *const label[2], gr_str s, size_t at, size_t *end)
{
    static const char *const number[] = { "1", "2" };

    while (at < s.n && (s.p[at] == ' ' || s.p[at] == '*' || s.p[at] == '#'))
        at++;
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 2; k++) {
            const char *name = k ? number[i] : label[i];
            size_t n = strlen(name);
            if (n > s.n - at || memcmp(s.p + at, name, n) || (at + n < s.n && is_word(s.p[at + n])))
                continue;
            *end = at + n;
            return i;
        }
    return -1;
}

/* The first mention of an answer at or behind `from`. */
static bool next_mention(const char *const label[2], gr_str s, size_t from, mention *out)
{
    static const char *const noun[] = { "response", "answer", "assistant" };

    for (size_t i = from; i < s.n; i++) {
        if (i > 0 && is_word(s.p[i - 1]))
            continue;
        for (size_t k = 0; k < GR_COUNT(noun); k++) {
            size_t n = strlen(noun[k]);
            if (n > s.n - i || strncasecmp(s.p + i, noun[k], n))
                continue;
            out->start = i;
            out->seat = seat_at(label, s, i + n, &out->end);
            if (out->seat >= 0)
                return true;
        }
    }
    return false;
}

static bool holds(gr_str s, const char *word)
{
    size_t n = strlen(word);

    for (size_t i = 0; i + n <= s.n; i++)
        if (!strncasecmp(s.p + i, word, n) && (i == 0 || !is_word(s.p[i - 1])))
            return true;
    return false;
}

/* Whether the words between a mention and the next one say that it is the better one: 1, the worse one: -1. */
static int praise(gr_str s)
{
    static const char *const good[] = { "better", "best", "superior", "preferred", "preferable", "stronger", "wins" };
    static const char *const bad[] = { "worse", "inferior", "weaker", "not" };

    for (size_t i = 0; i < GR_COUNT(bad); i++)
        if (holds(s, bad[i]))
            return -1;
    for (size_t i = 0; i < GR_COUNT(good); i++)
        if (holds(s, good[i]))
            return 1;
    return 0;
}

static gr_str conclusion_of(gr_str s)
{
    static const char word[] = "conclusion";
    size_t from = s.n;

    s = gr_format_trim(s);
    for (size_t i = 0; i + sizeof word - 1 <= s.n; i++)
        if (!strncasecmp(s.p + i, word, sizeof word - 1))
            from = i;
    if (from >= s.n)
        for (from = s.n; from > 0 && !(from >= 2 && s.p[from - 1] == '\n' && s.p[from - 2] == '\n'); )
            from--;
    return (gr_str){ s.p + from, s.n - from };
}

int gr_conclusion(const char *const label[2], gr_str rationale)
{
    gr_str s = conclusion_of(rationale);
    mention m, next;
    bool named[2] = { false }, better[2] = { false };

    for (bool more = next_mention(label, s, 0, &m); more; m = next) {
        gr_str words;
        int said;
        more = next_mention(label, s, m.end, &next);
        words = (gr_str){ s.p + m.end, (more ? next.start : s.n) - m.end };
        said = praise(words);
        named[m.seat] = true;
        better[m.seat] |= said > 0;
        better[1 - m.seat] |= said < 0;
    }
    if (better[0] != better[1])
        return better[1];
    return named[0] != named[1] && !better[0] ? named[1] : -1;
}

bool gr_names_answer(const char *const label[2], gr_str rationale, int seat)
{
    mention m = { 0 };

    while (next_mention(label, rationale, m.end, &m))
        if (m.seat == seat)
            return true;
    return false;
}

/* ---- Names that hold in any order ------------------------------------------------------------------ */

#define FIRST  "{first}"
#define SECOND "{second}"

gram_status gr_reason_unseat(gr_str text, const char *const label[2], gr_buf *out, size_t named[2], bool *seated,
                             gram_err *err)
{
    static const char *const mark[] = { FIRST, SECOND };
    static const char *const word[] = { "former", "latter", "first response", "second response", "first answer",
                                        "second answer", "first one", "second one" };
    size_t at = 0;
    mention m = { 0 };
    bool ok = true;

    for (int i = 0; i < 2; i++)
        for (size_t k = named[i] = 0, n = strlen(mark[i]); k + n <= text.n; k++)
            named[i] += !memcmp(text.p + k, mark[i], n);
    while (ok && next_mention(label, text, m.end, &m)) {
        size_t start = m.start > at && text.p[m.start - 1] == '@' ? m.start - 1 : m.start;
        ok = gr_buf_add(out, text.p + at, start - at) && gr_buf_puts(out, mark[m.seat]);
        named[m.seat]++;
        at = m.end;
    }
    *seated = false;
    for (size_t i = 0; i < GR_COUNT(word); i++)
        *seated = *seated || holds(text, word[i]);
    return ok && gr_buf_add(out, text.p + at, text.n - at) ? GRAM_OK : gr_nomem(err, "a rationale");
}

gram_status gr_reason_seat(gr_str text, const char *const label[2], int first_seat, gr_buf *out, gram_err *err)
{
    static const char *const mark[] = { FIRST, SECOND };
    size_t at = 0;
    bool ok = true;

    for (size_t i = 0; i < text.n && ok; i++)
        for (int k = 0; k < 2 && ok; k++) {
            size_t n = strlen(mark[k]);
            if (i < at || n > text.n - i || memcmp(text.p + i, mark[k], n))
                continue;
            ok = gr_buf_add(out, text.p + at, i - at) &&
                 gr_buf_printf(out, "Response %s", label[k ? 1 - first_seat : first_seat]);
            at = i + n;
        }
    return ok && gr_buf_add(out, text.p + at, text.n - at) ? GRAM_OK : gr_nomem(err, "a rationale");
}
