/* set_cache.c - finds the file of a set's examples, or makes it.
 *
 * DIR/NAME.rows, NAME a digest of the key, which names all that the examples depend on: the files of rows by their
 * contents, the tokenizer, the template, the judge prompt and the options. One process of those that need the file
 * writes it, under a lock of the directory; the others wait and then map it. A file that is there is believed when its
 * key and its proofs hold and its first rows, made again, are the same: a key cannot know that a newer program renders
 * something otherwise. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "base/limits.h"
#include "data/paths.h"
#include "file/fetch.h"
#include "file/io.h"
#include "train/cache.h"
#include "train/set_int.h"

enum { PROBE = 8 };

struct place {
    const gr_set_rules *rules;
    gr_set_form form;
    const char *path, *const *more;
    gr_buf key, name;
    uint64_t bytes;             /* of all files */
};

/* ---- The key -------------------------------------------------------------------------------------- */

static gram_status add_file(struct place *p, const char *path, gram_err *err)
{
    char hex[GR_SHA256_TEXT];
    uint64_t bytes;
    gram_status rc;

    if (gr_name_is_standard(path) || !gr_path_regular(path))
        return gr_fail(err, GRAM_EARG, "%s: its rows cannot lie in a cache, whose name is a digest of files that can "
                       "be read again: wanted a file", gr_name_is_standard(path) ? "standard input" : path);
    rc = gr_file_sha256(hex, &bytes, path, err);
    p->bytes += bytes;
    if (!rc && !gr_buf_printf(&p->key, "rows=%s %" PRIu64 "\n", hex, bytes))
        rc = gr_nomem(err, path);
    if (!rc && p->rules->skip_bad && !gr_buf_printf(&p->key, "called=%s\n", path))     /* warnings name it */
        rc = gr_nomem(err, path);
    return rc;
}

static gram_status add_files(struct place *p, const char *name, gram_err *err)
{
    char **path;
    size_t n;
    gram_status rc = gr_paths_list(name, &path, &n, err);

    for (size_t i = 0; i < n && !rc; i++)
        rc = add_file(p, path[i], err);
    gr_paths_free(path, n);
    return rc;
}

static bool add_text(gr_buf *b, const char *name, const char *text)
{
    size_t n = text ? strlen(text) : 0;

    return gr_buf_printf(b, "%s=%s%016" PRIx64 " %zu\n", name, text ? "" : "none ", gr_digest(GR_DIGEST, text, n), n);
}

/* A template that asks for the day writes another text tomorrow. */
static bool add_chat(gr_buf *b, const gr_chat *c)
{
    const char *const spacing[] = { c->inst.lead, c->inst.gap, c->inst.close, c->inst.answer, c->inst.after,
                                    c->inst.next, c->inst.system_gap };
    char *own = gr_json_text(c->own, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    char day[16] = "";
    time_t now = time(NULL);
    struct tm local;
    bool ok = gr_buf_printf(b, "template=%d %016" PRIx64 " %d%d%d %d%d%d%d%d%d\n", (int)c->kind, c->digest, c->trim,
                            c->drop_think, c->empty_think, c->inst.system_turn, c->inst.bos_each, c->inst.sys_marks,
                            c->inst.system_last, c->inst.trim_answer, c->inst.tokens);

    for (size_t i = 0; i < GR_COUNT(spacing) && ok; i++)
        ok = add_text(b, "spacing", spacing[i]);
    if (gr_chat_dated(c) && localtime_r(&now, &local))
        strftime(day, sizeof day, "%Y-%m-%d", &local);
    ok = ok && (own || !c->own) && add_text(b, "bos", c->bos) && add_text(b, "special tokens", own) &&
        gr_buf_printf(b, "day=%s\n", day);
    free(own);
    return ok;
}

static bool add_judge(gr_buf *b, const gr_judge *j)
{
    return gr_buf_printf(b, "tokenizer=%016" PRIx64 " %zu\n", gr_tok_digest(j->tok), gr_tok_vocabulary(j->tok)) &&
           add_chat(b, &j->chat) && add_text(b, "judge prompt", j->prompt) &&
           add_text(b, "label", j->label_text[0]) && add_text(b, "label", j->label_text[1]) &&
           gr_buf_printf(b, "judge=%d %d %d %" PRId32 " %" PRId32 " %" PRId32 " %" PRId32 " %zu %d\n", j->plain,
                         j->own, j->pointwise, j->last, j->pad, j->label[0], j->label[1], j->max_tokens,
                         (int)j->truncate);
}

static bool add_words(gr_buf *b, const gr_reason_words *w)
{
    return !w || (add_judge(b, &w->judge) && add_text(b, "opening", w->format.opening) &&
                  add_text(b, "closing", w->format.closing) && add_text(b, "cue", w->format.cue) &&
                  add_text(b, "ending", w->format.ending) && add_text(b, "word", w->label[0]) &&
                  add_text(b, "word", w->label[1]) &&
                  gr_buf_printf(b, "words=%" PRId32 " %" PRId32 "\n", w->label_id[0], w->label_id[1]));
}

static bool add_rules(gr_buf *b, gr_set_form form, const gr_set_rules *r)
{
    return gr_buf_printf(b, "gram=" GRAM_VERSION "\nform=%d\nloss=%s %.17g %.17g %.17g %.17g\nties=%d\nskip bad=%d\n"
                         "split=%.17g %d\n", (int)form, gram_loss_name(r->loss.kind), r->loss.smoothing,
                         r->loss.margin_scale, r->loss.good_weight, r->loss.bad_weight, (int)r->ties, r->skip_bad,
                         r->split, r->held) &&
           add_text(b, "columns", r->columns) &&
           gr_buf_printf(b, "limits=%zu %" PRId32 "\n", r->max_tokens, r->turn_end) &&
           (form != GR_FORM_GROUPS || gr_buf_printf(b, "pairs=%zu %" PRIu64 "\n", r->pairs, r->seed)) &&
           add_judge(b, r->judge) && add_words(b, r->words[0]) && add_words(b, r->words[1]);
}

/* The key, and the name of the file that has it. */
static gram_status find_place(struct place *p, gram_err *err)
{
    gram_status rc = add_rules(&p->key, p->form, p->rules) ? add_files(p, p->path, err) : gr_nomem(err, "cache");

    for (const char *const *m = p->more; m && *m && !rc; m++)
        rc = add_files(p, *m, err);
    if (!rc && !gr_buf_printf(&p->name, "%s/%016" PRIx64 "%016" PRIx64 ".rows", p->rules->cache,
                              gr_digest(GR_DIGEST, p->key.p, p->key.n), gr_digest(1, p->key.p, p->key.n)))
        rc = gr_nomem(err, "cache");
    return rc;
}

gram_status gr_set_file_bytes(const char *path, const char *const *more, uint64_t *bytes, gram_err *err)
{
    char **list;
    size_t n;
    struct stat st;
    gram_status rc = gr_paths_list(path, &list, &n, err);

    for (size_t i = 0; i < n; i++)
        *bytes += stat(list[i], &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    gr_paths_free(list, n);
    return rc || !more || !*more ? rc : gr_set_file_bytes(*more, more + 1, bytes, err);
}

/* ---- A file that is there ------------------------------------------------------------------------- */

static bool same_example(const gr_example *a, const gr_example *b)
{
    return gr_ids_same(&a->seq[0], &b->seq[0]) && gr_ids_same(&a->seq[1], &b->seq[1]) && a->asked == b->asked &&
           a->asked_other == b->asked_other && a->verdict == b->verdict && a->right == b->right &&
           a->target == b->target && a->weight == b->weight && a->prompt == b->prompt && a->text[0] == b->text[0] &&
           a->text[1] == b->text[1] && a->soft == b->soft && a->margin == b->margin && a->tie == b->tie &&
           a->good == b->good;
}

/* Whether the first rows, made again, are the file's. */
static bool probe(const struct place *p, const gr_set *there)
{
    gr_set again = { 0 };
    gr_set_sink to = { .s = &again, .most = PROBE + 1, .silent = true };
    gr_example room = { 0 };
    const gr_example *e;
    bool ok = !gr_set_read_into(&to, p->form, p->path, p->more, p->rules, NULL, NULL) &&
              (again.n > PROBE || again.n == there->n) && again.n <= there->n;

    for (size_t i = 0; i < gr_min(again.n, PROBE) && ok; i++)
        ok = !gr_set_get(there, i, &room, &e, NULL) && same_example(&again.e[i], e);
    gr_room_clear(&room);
    gr_set_clear(&again);
    return ok;
}

/* *found: the file is there, and right. One that is wrong is said to be, and made again. */
static gram_status look(const struct place *p, gr_set *out, bool *found, gram_err *err)
{
    gram_err why;
    gram_status rc;

    *found = false;
    if (!gr_path_exists(p->name.p))
        return GRAM_OK;
    rc = gr_cache_open(out, p->name.p, p->key.p, gr_tok_vocabulary(p->rules->judge->tok), &why);
    if (!rc && !probe(p, out)) {
        gr_set_clear(out);
        rc = gr_fail(&why, GRAM_EFORMAT, "%s: its first rows are not what this program makes of them", p->name.p);
    }
    *found = !rc;
    if (rc == GRAM_ENOMEM)
        return gr_fail(err, rc, "%s", why.text);
    if (rc && p->rules->warn) {
        gr_buf text = { 0 };
        if (gr_buf_printf(&text, "%s; it is made again", why.text))
            p->rules->warn(p->rules->arg, text.p);
        gr_buf_clear(&text);
    }
    return GRAM_OK;
}

/* ---- Making it ------------------------------------------------------------------------------------ */

/* Waits for the directory's lock; -1 where it has none, as on some network file systems: then each process writes a
 * file of its own, and they take the name one after the other with the same bytes. */
static gram_status lock_directory(const struct place *p, int *fd, gram_err *err)
{
    const struct timespec some = { 0, 50000000 };
    gram_status rc = GRAM_OK;

    *fd = open(p->rules->cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (*fd >= 0 && !rc && flock(*fd, LOCK_EX | LOCK_NB)) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            close(*fd);
            *fd = -1;
            break;
        }
        nanosleep(&some, NULL);
        rc = gr_dist_check(p->rules->dist, err);
    }
    return rc;
}

/* What runs that were killed left of this file. */
static void sweep(const struct place *p)
{
    gr_buf pattern = { 0 };
    glob_t g = { 0 };

    if (gr_buf_printf(&pattern, "%s.*.tmp", p->name.p) && !glob(pattern.p, GLOB_NOSORT, NULL, &g))
        for (size_t i = 0; i < g.gl_pathc; i++)
            unlink(g.gl_pathv[i]);
    globfree(&g);
    gr_buf_clear(&pattern);
}

static gram_status write_file(const struct place *p, bool *full, gram_err *err)
{
    gr_set counts = { 0 };
    gr_set_sink to = { .s = &counts, .bytes = p->bytes, .dir = p->rules->cache };
    gram_status rc = gr_cache_create(&to.w, p->name.p, p->key.p, err);

    *full = rc == GRAM_EIO;
    if (!rc)
        rc = gr_set_read_into(&to, p->form, p->path, p->more, p->rules, full, err);
    if (!rc) {
        rc = gr_cache_finish(to.w, &counts, err);
        *full = rc == GRAM_EIO;
    }
    gr_cache_drop(to.w);
    return rc;
}

/* Under the lock another process may have made it by now. fresh: it was made here, and its warnings were said. */
static gram_status make(const struct place *p, gr_set *out, bool *fresh, bool *full, gram_err *err)
{
    bool found = false;
    int fd;
    gram_status rc = lock_directory(p, &fd, err);

    *fresh = false;
    if (!rc)
        rc = look(p, out, &found, err);
    if (!rc && !found) {
        if (fd >= 0)
            sweep(p);
        rc = write_file(p, full, err);
        *fresh = !rc;
    }
    if (fd >= 0)
        close(fd);
    if (rc || found)
        return rc;
    return gr_cache_open(out, p->name.p, p->key.p, gr_tok_vocabulary(p->rules->judge->tok), err);
}

static gram_status say_found(const struct place *p, const gr_set *s, bool fresh, gram_err *err)
{
    const gr_set_rules *r = p->rules;
    gr_buf text = { 0 };
    size_t at = 0;
    bool ok = gr_buf_printf(&text, "%zu rows lie as tokens in %s, %.2f GiB", s->n, gr_cache_path(s->cache),
                            (double)gr_cache_bytes(s->cache) / GR_GIB);

    for (const char *w; !fresh && r->warn && (w = gr_cache_warning(s->cache, &at)); )
        r->warn(r->arg, w);
    if (ok && r->warn)
        r->warn(r->arg, text.p);
    gr_buf_clear(&text);
    return ok ? GRAM_OK : gr_nomem(err, "training rows");
}

static gram_status find_or_make(struct place *p, gr_set *out, bool *fresh, bool *full, gram_err *err)
{
    bool found = false;
    gram_status rc = find_place(p, err);

    *full = rc == GRAM_EARG;
    *fresh = false;
    if (!rc && (rc = gr_make_directories(p->rules->cache, err)))
        *full = true;
    if (!rc)
        rc = look(p, out, &found, err);
    if (!rc && !found)
        rc = make(p, out, fresh, full, err);
    return rc;
}

/* There is no place for the file, and nobody asked for one. */
static gram_status in_memory(const struct place *p, gr_set *out, const gram_err *why, gram_err *err)
{
    gr_buf text = { 0 };

    if (gr_buf_printf(&text, "%s; the rows stay in memory", why->text) && p->rules->warn)
        p->rules->warn(p->rules->arg, text.p);
    gr_buf_clear(&text);
    return gr_set_read_into(&(gr_set_sink){ .s = out }, p->form, p->path, p->more, p->rules, NULL, err);
}

gram_status gr_set_read_cached(gr_set *out, gr_set_form form, const char *path, const char *const *more,
                               const gr_set_rules *rules, gram_err *err)
{
    struct place p = { .rules = rules, .form = form, .path = path, .more = more };
    bool fresh, full = false;
    gram_err why;
    gram_status rc = find_or_make(&p, out, &fresh, &full, &why);

    if (rc && full && !rules->bound)
        rc = in_memory(&p, out, &why, err);
    else if (rc)
        rc = gr_fail(err, rc, "%s", why.text);
    else
        rc = say_found(&p, out, fresh, err);
    if (!rc && out->cache && gram_loss_is_policy(rules->loss.kind) &&
        !(out->ref = gr_calloc(out->n, 2 * sizeof *out->ref)))
        rc = gr_nomem(err, "training rows");
    gr_buf_clear(&p.key);
    gr_buf_clear(&p.name);
    return rc;
}
