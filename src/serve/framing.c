/* framing.c - requests that two servers could read differently, found before anything of them is believed.
 *
 * Behind a proxy that cuts a connection's bytes into other requests than this server does, one client's body becomes
 * another's request (RFC 9112, 11.2). libmicrohttpd is lenient: it takes the first of two lengths, a blank before a
 * colon, a folded line (whose text it appends to the header's *name*), a NUL or a line that ends in a bare LF; and it
 * shows no raw bytes. It does hand out pointers into the buffer that it read into, with each line's CRLF and colon
 * overwritten by NULs, so that the lines can be measured:
 *
 *     POST /x HTTP/1.1␀␀Host␀ a␀␀Content-Length␀ 2␀␀␀␀          a line that was folded has its name elsewhere
 *             version   key  value  key         value  the empty line
 *
 * Whatever does not lie like that is refused. Later releases refuse all of it themselves when asked to
 * (MHD_OPTION_CLIENT_DISCIPLINE_LVL), and may lay their buffers out otherwise. What stands in a body that comes in
 * chunks cannot be seen at all, so that such a request is the last one of its connection. */
#include <string.h>
#include "serve/serve_int.h"

enum { MEASURED = MHD_VERSION < 0x00097701 };

typedef struct {
    const char *end;                /* of the last line: where its CRLF was */
    size_t hosts, lengths, codings;
    const char *coding, *fault;
} framing;

static bool is_token(const char *p, size_t n)
{
    static const char marks[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

    return n > 0 && strspn(p, marks) == n;
}

static bool is_line_end(const char *p)
{
    return p[0] == '\0' && p[1] == '\0';
}

static bool named(const char *name, const char *key, size_t n)
{
    return strlen(name) == n && !strncasecmp(name, key, n);
}

static enum MHD_Result look_at(void *arg, enum MHD_ValueKind kind, const char *key, size_t key_n, const char *value,
                               size_t n)
{
    framing *f = arg;

    (void)kind;
    if (!is_token(key, key_n))
        f->fault = "a header's name holds a blank or another character that no name has";
    else if (value && (memchr(value, '\r', n) || memchr(value, '\n', n) || memchr(value, '\0', n)))
        f->fault = "a header holds a line end or U+0000";
    else if (MEASURED && (!value || !is_line_end(f->end) || key != f->end + 2 || value <= key + key_n))
        f->fault = "a header is folded, holds U+0000 or does not end in CR LF";
    f->end = value ? value + n : f->end;
    f->hosts += named("Host", key, key_n);
    f->lengths += named("Content-Length", key, key_n);
    if (named("Transfer-Encoding", key, key_n)) {
        f->codings++;
        f->coding = value;
    }
    return f->fault ? MHD_NO : MHD_YES;
}

const char *gr_framing_fault(struct MHD_Connection *conn, const char *version, bool *chunked)
{
    framing f = { .end = version + strlen(version) };
    bool http11 = !strcmp(version, MHD_HTTP_VERSION_1_1);

    MHD_get_connection_values_n(conn, MHD_HEADER_KIND, look_at, &f);
    *chunked = f.codings > 0;
    if (f.fault)
        return f.fault;
    if (MEASURED && !(is_line_end(f.end) && is_line_end(f.end + 2)))
        return "a header has no name, holds U+0000 or does not end in CR LF";
    if (f.hosts > 1 || (http11 && f.hosts == 0))
        return f.hosts ? "two Host headers" : "no Host header";
    if (f.lengths > 1)
        return "two Content-Length headers";
    if (f.codings && f.lengths)
        return "a Content-Length beside a Transfer-Encoding";
    if (f.codings > 1 || (f.codings && (!http11 || strcasecmp(f.coding, "chunked"))))
        return "a Transfer-Encoding that is not chunked alone";
    return NULL;
}
