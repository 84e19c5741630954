/* stage.c - see stage.h. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "api/how.h"
#include "api/stage.h"
#include "base/digest.h"
#include "base/err.h"
#include "file/adapter.h"
#include "file/io.h"

#define RECORD_MOST ((size_t)1 << 20)
#define OUTPUT "output="

struct gr_digested { char *path; uint64_t digest; };

/* ---- Digests -------------------------------------------------------------------------------------- */

static gram_status digest_parts(const char *path, uint64_t *h, gram_err *err)
{
    size_t n = gr_gguf_part_count(path);
    gram_status rc = gr_file_digest(path, h, err);

    for (size_t i = 1; i < n && !rc; i++) {
        char *part = gr_gguf_part_path(path, i, n);
        rc = part ? gr_file_digest(part, h, err) : gr_nomem(err, path);
        free(part);
    }
    return rc;
}

/* Not what tells of its training, and no part of a file that a killed run left. */
static int of_model(const struct dirent *e)
{
    static const char *const none[] = { ".jsonl", ".html", ".partial", ".tmp" };
    const char *dot = strrchr(e->d_name, '.');

    for (size_t i = 0; dot && i < GR_COUNT(none); i++)
        if (!strcmp(dot, none[i]))
            return 0;
    return *e->d_name != '.';
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static gram_status digest_directory(const char *path, uint64_t *h, gram_err *err)
{
    struct dirent **entry;
    int n = scandir(path, &entry, of_model, by_bytes);
    gram_status rc = n < 0 ? gr_fail(err, GRAM_EIO, "%s: %s", path, strerror(errno)) : GRAM_OK;

    for (int i = 0; i < n; i++) {
        char *file = rc ? NULL : gr_path_join(path, entry[i]->d_name);
        struct stat st;
        if (!rc && !file)
            rc = gr_nomem(err, path);
        if (file && !stat(file, &st) && S_ISREG(st.st_mode)) {
            *h = gr_digest(*h, entry[i]->d_name, strlen(entry[i]->d_name) + 1);
            rc = gr_file_digest(file, h, err);
        }
        free(file);
        free(entry[i]);
    }
    if (n >= 0)
        free(entry);
    return rc;
}

static struct gr_digested *find(const gr_digests *d, const char *path)
{
    for (size_t i = 0; i < d->n; i++)
        if (!strcmp(d->p[i].path, path))
            return &d->p[i];
    return NULL;
}

gram_status gr_run_stage_digest(gr_digests *d, const char *path, uint64_t *out, gram_err *err)
{
    struct gr_digested *known = find(d, path), *grown;
    struct stat st;
    gram_status rc;

    if (known) {
        *out = known->digest;
        return GRAM_OK;
    }
    if (stat(path, &st))
        return gr_fail(err, GRAM_EIO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return gr_fail(err, GRAM_EIO, "%s: wanted a file, which can be read again", path);
    *out = GR_DIGEST;
    rc = S_ISDIR(st.st_mode) ? digest_directory(path, out, err) : digest_parts(path, out, err);
    if (rc)
        return rc;
    grown = gr_grown(d->p, d->n, &d->cap, 1, sizeof *d->p);
    if (!grown)
        return gr_nomem(err, path);
    d->p = grown;
    d->p[d->n] = (struct gr_digested){ gr_strdup(path), *out };
    return d->p[d->n++].path ? GRAM_OK : (d->n--, gr_nomem(err, path));
}

/* What was written anew has another digest. */
static void forget(gr_digests *d, const char *path)
{
    struct gr_digested *known = find(d, path);

    if (!known)
        return;
    free(known->path);
    *known = d->p[--d->n];
}

void gr_digests_clear(gr_digests *d)
{
    for (size_t i = 0; i < d->n; i++)
        free(d->p[i].path);
    free(d->p);
    *d = (gr_digests){ 0 };
}

/* ---- What a stage heeds --------------------------------------------------------------------------- */

void gr_run_stage_set(gr_run_stage *s, const char *key, const char *value)
{
    size_t n = strlen(value);
    bool plain = true, ok;

    for (size_t i = 0; i < n; i++)
        plain = plain && (unsigned char)value[i] >= ' ';
    ok = plain ? gr_buf_printf(&s->record, "%s=%s\n", key, value)
               : gr_buf_printf(&s->record, "%s=%016" PRIx64 "\n", key, gr_digest(GR_DIGEST, value, n));
    s->broken = s->broken || !ok;
}

void gr_run_stage_printf(gr_run_stage *s, const char *key, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    gr_run_stage_set(s, key, text);
}

gram_status gr_run_stage_reads(gr_run_stage *s, const char *what, const char *path, gr_digests *d, gram_err *err)
{
    char key[128];
    uint64_t h;
    gram_status rc = gr_run_stage_digest(d, path, &h, err);

    snprintf(key, sizeof key, GR_CONTENTS "%s", what);
    if (!rc)
        gr_run_stage_printf(s, key, "%016" PRIx64, h);
    return rc;
}

gram_status gr_run_stage_reads_model(gr_run_stage *s, const char *what, const char *path, const char *base,
                                     gr_digests *d, gram_err *err)
{
    char key[96], *of = NULL;
    gr_adapter *a = NULL;
    bool adapter = false;
    gram_status rc = gr_run_stage_reads(s, what, path, d, err);

    if (!rc)
        rc = gr_adapter_is(&adapter, path, err);
    if (!rc && adapter)
        rc = gr_adapter_open(&a, path, err);
    if (!rc && adapter)
        rc = gr_adapter_base(&of, a, base, err);
    snprintf(key, sizeof key, "the base of %s", what);
    if (!rc && adapter)
        rc = gr_run_stage_reads(s, key, of, d, err);
    gr_adapter_close(a);
    free(of);
    return rc;
}

void gr_run_stage_clear(gr_run_stage *s)
{
    gr_buf_clear(&s->record);
}

/* ---- Records -------------------------------------------------------------------------------------- */

/* DIR/stages/NAME, its slashes as dashes; malloc'ed. */
static gram_status record_path(const gr_run_stage *s, char **out, gram_err *err)
{
    gr_buf b = { 0 };
    size_t at;
    bool ok = !s->broken && gr_buf_printf(&b, "%s/stages", s->dir);
    gram_status rc = ok ? gr_make_directory(b.p, err) : gr_nomem(err, s->name);

    at = b.n + 1;
    if (!rc && !gr_buf_printf(&b, "/%s", s->name))
        rc = gr_nomem(err, s->name);
    for (size_t i = at; !rc && i < b.n; i++)
        b.p[i] = b.p[i] == '/' ? '-' : b.p[i];
    if (rc)
        gr_buf_clear(&b);
    *out = b.p;
    return rc;
}

/* The line at p without its newline, and what follows. */
static gr_str take_line(const char **p)
{
    gr_str line = { *p, strcspn(*p, "\n") };

    *p += line.n + (line.p[line.n] == '\n');
    return line;
}

static gr_str key_of(gr_str line)
{
    const char *equals = memchr(line.p, '=', line.n);

    return (gr_str){ line.p, equals ? (size_t)(equals - line.p) : line.n };
}

/* What is behind the key, for a message; a damaged record may have a line without "=". */
static gr_str value_of(gr_str line)
{
    size_t skip;

    if (!line.p)
        return (gr_str){ "not set", 7 };
    skip = gr_min(key_of(line).n + 1, line.n);
    return (gr_str){ line.p + skip, line.n - skip };
}

static bool same(gr_str a, gr_str b) { return a.n == b.n && !memcmp(a.p, b.p, a.n); }

/* The line of the text that has this key; .p NULL: none. */
static gr_str find_line(const char *text, gr_str key)
{
    while (*text) {
        gr_str line = take_line(&text);
        if (same(key_of(line), key))
            return line;
    }
    return (gr_str){ NULL, 0 };
}

static gram_status differs(const gr_run_stage *s, gr_str was, gr_str is, gram_err *err)
{
    static const char back[] = "set it back, remove this output and what was made from it, or choose another `out`";
    gr_str key = key_of(is.p ? is : was);
    gr_str before = value_of(was), now = value_of(is);

    if (!strncmp(key.p, GR_CONTENTS, strlen(GR_CONTENTS)))
        return gr_fail(err, GRAM_EARG, "%s: it was begun with other %.*s: %s", s->output, (int)key.n, key.p, back);
    return gr_fail(err, GRAM_EARG, "%s: it was begun with %.*s %.*s, and now that is %.*s: %s", s->output, (int)key.n,
                   key.p, (int)gr_min(before.n, 100), before.p, (int)gr_min(now.n, 100), now.p, back);
}

/* `was` is the record that is there, less its last line. */
static gram_status compare(const gr_run_stage *s, const char *was, gram_err *err)
{
    for (const char *p = s->record.p; *p; ) {
        gr_str line = take_line(&p), old = find_line(was, key_of(line));
        if (!old.p || !same(old, line))
            return differs(s, old, line, err);
    }
    for (const char *p = was; *p; ) {
        gr_str line = take_line(&p);
        if (!find_line(s->record.p, key_of(line)).p)
            return differs(s, line, (gr_str){ NULL, 0 }, err);
    }
    return GRAM_OK;
}

/* A directory without a file holds nothing that a change could mix with. */
static bool holds_something(const char *path)
{
    struct dirent **entry;
    struct stat st;
    int n;

    if (stat(path, &st) || !S_ISDIR(st.st_mode))
        return gr_path_exists(path);
    n = scandir(path, &entry, NULL, NULL);
    for (int i = 0; i < n; i++)
        free(entry[i]);
    if (n >= 0)
        free(entry);
    return n != 2;                          /* "." and ".." */
}

static bool output_there(const gr_run_stage *s)
{
    gr_buf b = { 0 };
    bool there = holds_something(s->output) || (gr_buf_printf(&b, "%s.partial", s->output) && gr_path_exists(b.p));

    gr_buf_clear(&b);
    return there;
}

/* The stage was whole: its output is what it then was. */
static gram_status check_output(const gr_run_stage *s, const char *digest, gr_digests *d, gram_err *err)
{
    uint64_t h;
    gram_status rc = gr_run_stage_digest(d, s->output, &h, err);

    if (!rc && h != strtoull(digest, NULL, 16))
        rc = gr_fail(err, GRAM_EARG, "%s: it has changed since it was made: put it back, or remove it and what was "
                     "made from it", s->output);
    return rc;
}

gram_status gr_run_stage_end(gr_run_stage *s, gr_digests *d, gram_err *err)
{
    char *path;
    uint64_t h;
    gram_status rc = record_path(s, &path, err);

    forget(d, s->output);
    if (!rc)
        rc = gr_run_stage_digest(d, s->output, &h, err);
    if (!rc && !gr_buf_printf(&s->record, OUTPUT "%016" PRIx64 "\n", h))
        rc = gr_nomem(err, s->name);
    if (!rc)
        rc = gr_write_file(path, s->record.p, s->record.n, err);
    if (!rc)
        gr_how_forget(s->output);               /* the record says all of it */
    free(path);
    return rc;
}

gram_status gr_run_stage_begin(gr_run_stage *s, gr_digests *d, bool *whole, gram_err *err)
{
    bool there = output_there(s);
    char *path, *was = NULL, *output;
    size_t n;
    gram_status rc = record_path(s, &path, err);

    *whole = false;
    if (!rc && there && !gr_path_exists(path))
        rc = gr_fail(err, GRAM_EARG, "%s: it is there and was not made by this run: remove it, or choose another `out`",
                     s->output);
    if (!rc && there)
        rc = gr_read_file(path, RECORD_MOST, &was, &n, err);
    if (!rc && there) {
        output = strstr(was, "\n" OUTPUT);
        if (output)
            *output++ = '\0';
        rc = compare(s, was, err);
        if (!rc && output)
            rc = check_output(s, output + strlen(OUTPUT), d, err);
        *whole = !rc && output;
        if (!rc && !output && gr_path_regular(s->output)) {     /* it got its name, and then the run was killed */
            rc = gr_run_stage_end(s, d, err);
            *whole = !rc;
        }
    } else if (!rc) {
        rc = gr_write_file(path, s->record.p, s->record.n, err);
    }
    free(was);
    free(path);
    return rc;
}
