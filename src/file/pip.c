/* pip.c - see pip.h. */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include "base/err.h"
#include "file/io.h"
#include "file/pip.h"

#define DEFAULT_INDEX "https://pypi.org/simple"         /* pip's own default */
enum { FILE_MOST = 1 << 20 };

static const struct { const char *key, *env; } setting[GR_PIP_SETTINGS] = {
    [GR_PIP_INDEX] = { "index-url", "PIP_INDEX_URL" }, [GR_PIP_EXTRA] = { "extra-index-url", "PIP_EXTRA_INDEX_URL" },
    [GR_PIP_LINKS] = { "find-links", "PIP_FIND_LINKS" }, [GR_PIP_NO_INDEX] = { "no-index", "PIP_NO_INDEX" },
    [GR_PIP_CERT] = { "cert", "PIP_CERT" }, [GR_PIP_PROXY] = { "proxy", "PIP_PROXY" },
};

void gr_pip_clear(gr_pip *p)
{
    for (size_t i = 0; i < GR_PIP_SETTINGS; i++)
        free(p->value[i]);
    *p = (gr_pip){ 0 };
}

/* ---- pip.conf ----------------------------------------------------------------------------------- */

static gr_str trimmed(const char *p, const char *end)
{
    while (p < end && strchr(" \t\r", *p))
        p++;
    while (end > p && strchr(" \t\r", end[-1]))
        end--;
    return (gr_str){ p, (size_t)(end - p) };
}

/* pip takes index_url and Index-Url for index-url. */
static bool same_key(gr_str key, const char *name)
{
    if (key.n > 2 && !strncmp(key.p, "--", 2))
        key = (gr_str){ key.p + 2, key.n - 2 };
    if (strlen(name) != key.n)
        return false;
    for (size_t i = 0; i < key.n; i++) {
        char c = key.p[i] == '_' ? '-' : key.p[i];
        if (c != name[i] && !(c >= 'A' && c <= 'Z' && c - 'A' + 'a' == name[i]))
            return false;
    }
    return true;
}

/* What is read of one file, before it is known which section a setting has in it. */
struct parse { gr_buf of[2][GR_PIP_SETTINGS]; bool set[2][GR_PIP_SETTINGS]; int section; gr_buf *open; };

/* "key = value", or a line of its own that begins with white space and goes on with the value before. */
static bool take_line(struct parse *s, const char *p, const char *end)
{
    gr_str line = trimmed(p, end), key, value;
    const char *at;

    if (line.n == 0 || *line.p == '#' || *line.p == ';')
        return true;
    if (*p == ' ' || *p == '\t')
        return !s->open || (gr_buf_puts(s->open, " ") && gr_buf_add(s->open, line.p, line.n));
    s->open = NULL;
    if (*line.p == '[') {
        gr_str name = trimmed(line.p + 1, line.p + line.n - (line.p[line.n - 1] == ']' && line.n > 1));
        s->section = gr_str_is(name, "download") ? 1 : gr_str_is(name, "global") ? 0 : -1;
        return true;
    }
    for (at = line.p; at < line.p + line.n && *at != '=' && *at != ':'; )
        at++;
    key = trimmed(line.p, at);
    value = at < line.p + line.n ? trimmed(at + 1, line.p + line.n) : (gr_str){ at, 0 };
    for (size_t i = 0; i < GR_PIP_SETTINGS && s->section >= 0; i++)
        if (same_key(key, setting[i].key)) {
            s->open = &s->of[s->section][i];
            s->open->n = 0;
            s->set[s->section][i] = true;
            return gr_buf_add(s->open, value.p, value.n);
        }
    return true;
}

gram_status gr_pip_parse(gr_pip *p, const char *name, const char *text, size_t n, gram_err *err)
{
    struct parse s = { .section = -1 };
    bool ok = true;

    if (memchr(text, '\0', n))
        return gr_fail(err, GRAM_EFORMAT, "%s: it holds U+0000 and is no configuration of pip's", name);
    for (const char *at = text, *last = text + n, *end; at < last && ok; at = end + 1) {
        end = memchr(at, '\n', (size_t)(last - at));
        end = end ? end : last;
        ok = take_line(&s, at, end);
    }
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < GR_PIP_SETTINGS; i++) {
            if (ok && s.set[k][i]) {
                free(p->value[i]);
                p->value[i] = gr_strdup(s.of[k][i].p);
                ok = p->value[i] != NULL;
            }
            gr_buf_clear(&s.of[k][i]);
        }
    return ok ? GRAM_OK : gr_nomem(err, name);
}

static gram_status read_file(gr_pip *p, const char *path, gram_err *err)
{
    char *text;
    size_t n;
    gram_status rc = gr_path_exists(path) ? gr_read_file(path, FILE_MOST, &text, &n, err) : GRAM_OK;

    if (rc || !gr_path_exists(path))
        return rc;
    rc = gr_pip_parse(p, path, text, n, err);
    free(text);
    return rc;
}

static gram_status read_below(gr_pip *p, const char *root, const char *name, gram_err *err)
{
    char *path = root && *root ? gr_path_join(root, name) : NULL;
    gram_status rc = path ? read_file(p, path, err) : root && *root ? gr_nomem(err, "pip.conf") : GRAM_OK;

    free(path);
    return rc;
}

/* Each over those before it, as pip does. */
static gram_status read_files(gr_pip *p, gram_err *err)
{
    const char *named = getenv("PIP_CONFIG_FILE"), *home = getenv("HOME"), *xdg = getenv("XDG_CONFIG_HOME");
    gram_status rc;

    if (named && !strcmp(named, "/dev/null"))
        return GRAM_OK;                                 /* pip's word for none at all */
    rc = read_file(p, "/etc/xdg/pip/pip.conf", err);
    if (!rc)
        rc = read_file(p, "/etc/pip.conf", err);
    if (!rc)
        rc = read_below(p, getenv("VIRTUAL_ENV"), "pip.conf", err);
    if (!rc)
        rc = read_below(p, home, ".pip/pip.conf", err);
    if (!rc)
        rc = xdg && *xdg ? read_below(p, xdg, "pip/pip.conf", err) : read_below(p, home, ".config/pip/pip.conf", err);
    if (!rc && named && *named)
        rc = read_file(p, named, err);
    return rc;
}

gram_status gr_pip_read(gr_pip *out, gram_err *err)
{
    gram_status rc;

    *out = (gr_pip){ 0 };
    rc = read_files(out, err);
    for (size_t i = 0; i < GR_PIP_SETTINGS && !rc; i++) {
        const char *v = getenv(setting[i].env);
        if (!v || !*v)
            continue;
        free(out->value[i]);
        out->value[i] = gr_strdup(v);
        if (!out->value[i])
            rc = gr_nomem(err, setting[i].env);
    }
    if (rc)
        gr_pip_clear(out);
    return rc;
}

/* ---- Links -------------------------------------------------------------------------------------- */

/* Text of an attribute, its character references read: the four that addresses hold. */
static bool unescape(gr_buf *b, const char *p, const char *end)
{
    static const struct { const char *from, *to; } known[] = {
        { "&amp;", "&" }, { "&#38;", "&" }, { "&#x26;", "&" }, { "&#43;", "+" }, { "&#x2b;", "+" }, { "&#x2B;", "+" }
    };

    while (p < end) {
        size_t i = 0;
        while (i < GR_COUNT(known) && strncmp(p, known[i].from, gr_min(strlen(known[i].from), (size_t)(end - p) + 1)))
            i++;
        if (*p == '&' && i < GR_COUNT(known) && strlen(known[i].from) <= (size_t)(end - p)) {
            if (!gr_buf_puts(b, known[i].to))
                return false;
            p += strlen(known[i].from);
        } else if (!gr_buf_add(b, p++, 1)) {
            return false;
        }
    }
    return true;
}

/* Whether the last part of an address is STEM-*.whl. */
static bool is_wheel(const char *link, const char *stem)
{
    size_t n = strcspn(link, "?#"), from = n, k = strlen(stem);

    while (from > 0 && link[from - 1] != '/')
        from--;
    return n - from > k + 5 && !strncmp(link + from, stem, k) && link[from + k] == '-' &&
           !strncmp(link + n - 4, ".whl", 4);
}

gram_status gr_pip_link(char **out, const char *page, size_t n, const char *stem, gram_err *err)
{
    const char *end = page + n;
    gr_buf link = { 0 };

    *out = NULL;
    for (const char *p = page; (size_t)(end - p) > 6; p++) {
        const char *close, *value = p + 6;
        if (strncasecmp(p, "href=", 5) || (p[5] != '"' && p[5] != '\''))
            continue;
        close = memchr(value, p[5], (size_t)(end - value));
        if (!close)
            break;
        link.n = 0;
        if (!unescape(&link, value, close)) {
            gr_buf_clear(&link);
            return gr_nomem(err, "links");
        }
        if (link.n && strlen(link.p) == link.n && is_wheel(link.p, stem)) {
            *out = link.p;
            return GRAM_OK;
        }
        p = close;
    }
    gr_buf_clear(&link);
    return GRAM_OK;
}

/* *out stays NULL where the page has no such link. */
static gram_status from_page(char **out, const gr_pip *p, const char *url, const char *stem, gram_err *err)
{
    const gr_download d = { .cert = p->value[GR_PIP_CERT], .proxy = p->value[GR_PIP_PROXY] };
    gr_buf page = { 0 };
    char *at = NULL, *link = NULL;
    gram_status rc = gr_download_page(&d, url, &page, &at, err);

    if (!rc && page.p)
        rc = gr_pip_link(&link, page.p, page.n, stem, err);
    if (!rc && link)
        rc = gr_download_join(out, at, link, err);
    gr_buf_clear(&page);
    free(at);
    free(link);
    return rc;
}

/* A directory of wheels; *out stays NULL where it has none. */
static gram_status from_directory(char **out, const char *dir, const char *stem, gram_err *err)
{
    gr_buf pattern = { 0 }, url = { 0 };
    glob_t found = { 0 };
    char *real = NULL;
    bool ok = gr_buf_printf(&pattern, "%s/%s-*.whl", dir, stem);

    if (ok && !glob(pattern.p, 0, NULL, &found) && (real = realpath(found.gl_pathv[0], NULL)))
        ok = gr_buf_printf(&url, "file://%s", real);
    if (ok && url.p) {
        *out = url.p;
        url = (gr_buf){ 0 };
    }
    globfree(&found);
    free(real);
    gr_buf_clear(&pattern);
    gr_buf_clear(&url);
    return ok ? GRAM_OK : gr_nomem(err, dir);
}

static gram_status from_place(char **out, const gr_pip *p, const char *place, const char *package, const char *stem,
                              gram_err *err)
{
    gr_buf url = { 0 };
    struct stat st;
    gram_status rc;

    if (!package && !strncmp(place, "file://", 7))
        place += 7;
    if (!package && !strstr(place, "://"))
        return !stat(place, &st) && S_ISDIR(st.st_mode) ? from_directory(out, place, stem, err) : GRAM_OK;
    if (!gr_buf_puts(&url, place) ||
        (package && !(gr_buf_printf(&url, "%s%s/", url.n && url.p[url.n - 1] == '/' ? "" : "/", package)))) {
        gr_buf_clear(&url);
        return gr_nomem(err, "pip");
    }
    rc = from_page(out, p, url.p, stem, err);
    gr_buf_clear(&url);
    return rc;
}

/* The places of a list with white space between them. The first failure is kept in *why while others are tried. */
static void from_list(char **out, const gr_pip *p, const char *list, const char *package, const char *stem,
                      gram_err *why)
{
    while (list && *list && !*out) {
        size_t n = strcspn(list, " \t\r\n");
        char *place = n ? gr_strndup(list, n) : NULL;
        gram_err err;
        if (n && !place)
            gr_nomem(why, "pip");
        else if (n && from_place(out, p, place, package, stem, &err) && !why->status)
            *why = err;
        free(place);
        list += n;
        list += strspn(list, " \t\r\n");
    }
}

static bool is_true(const char *v)
{
    return v && (!strcasecmp(v, "1") || !strcasecmp(v, "true") || !strcasecmp(v, "yes") || !strcasecmp(v, "on") ||
                 !strcasecmp(v, "t") || !strcasecmp(v, "y"));
}

gram_status gr_pip_find(char **out, const gr_pip *p, const char *package, const char *stem, gram_err *err)
{
    const char *index = p->value[GR_PIP_INDEX];
    gram_err why = { 0 };

    *out = NULL;
    from_list(out, p, p->value[GR_PIP_LINKS], NULL, stem, &why);
    if (!is_true(p->value[GR_PIP_NO_INDEX])) {
        from_list(out, p, index && *index ? index : DEFAULT_INDEX, package, stem, &why);
        from_list(out, p, p->value[GR_PIP_EXTRA], package, stem, &why);
    }
    if (*out)
        return GRAM_OK;
    if (why.status)
        return gr_fail(err, why.status, "%s", why.text);
    return gr_fail(err, GRAM_EIO, "no place that pip is set up to look in has %s-*.whl (%s)", stem,
                   index && *index ? "index-url and the like" : "the default index");
}
