/* selftrain_rows.c - the rows of a round: which pairs it gets, and which of its votes become labels.
 *
 * What is counted is always counted from files, so that a run that was killed tells the same numbers. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "api/job.h"
#include "api/selftrain_int.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "data/rows.h"
#include "rationale/denoise.h"
#include "rationale/json.h"

#define NUMBERS_MOST ((size_t)64 << 20)

/* ---- Lines ---------------------------------------------------------------------------------------- */

static gram_status open_out(gr_out **out, const char *folder, const char *name, gram_err *err)
{
    char *path = gr_path_join(folder, name);
    gram_status rc = path ? gr_out_open(out, path, false, err) : gr_nomem(err, name);

    free(path);
    return rc;
}

/* Takes o over; NULL: memory ran out. */
static gram_status write_line(gr_out *out, json_t *o, gram_err *err)
{
    gram_status rc = gr_api_write_line(out, o, "a line", err);

    json_decref(o);
    return rc;
}

static gram_status commit(gr_out *out, gram_status rc, gram_err *err)
{
    if (!rc)
        rc = gr_out_commit(out, err);
    gr_out_close(out);
    return rc;
}

static int should_stop(const gr_self_round *r)
{
    const gram_selftrain_progress p = { .stage = NULL };

    return r->calls && r->calls->progress ? r->calls->progress(r->calls->arg, &p) : 0;
}

/* ---- Pairs ---------------------------------------------------------------------------------------- */

/* A pair of the files, borrowed. */
struct unlabelled {
    const char *id;
    gram_prompt prompt;
    const char *answer[2];
    int better;                     /* 0, 1; -1: the data do not say */
};

struct dealing { const gr_self_round *r; gr_out *out; uint64_t seen, taken; };

/* A tie by its form, as which every command reads a pair that has no label. */
static gram_status write_pair(struct dealing *d, const struct unlabelled *u, gram_err *err)
{
    json_t *o = json_pack("{s:s, s:o, s:s, s:s, s:i, s:o, s:s*}", "id", u->id, "prompt",
                          gr_api_messages_json(&u->prompt), "response1", u->answer[0], "response2", u->answer[1],
                          "overall_preference", 0, "known",
                          u->better < 0 ? json_null() : json_integer(u->better + 1), "criteria",
                          u->prompt.criteria);

    d->taken++;
    return write_line(d->out, o, err);
}

/* Every rounds-th pair is of this round. */
static gram_status deal(struct dealing *d, const struct unlabelled *u, gram_err *err)
{
    const gram_selftrain_options *o = d->r->o;
    bool mine = d->seen++ % o->rounds == d->r->round - 1;

    return mine && (!o->per_round || d->taken < o->per_round) ? write_pair(d, u, err) : GRAM_OK;
}

/* Each response stands in one pair; of an odd number the last one in none. */
static gram_status deal_group(struct dealing *d, const gr_group *g, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i + 1 < g->n && !rc; i += 2) {
        gr_buf id = { 0 };
        struct unlabelled u = { g->id, { g->turn, g->n_turns, NULL, g->criteria },
                                { g->response[i], g->response[i + 1] }, -1 };
        if (g->n > 3 && !gr_buf_printf(&id, "%s#%zu-%zu", g->id, i, i + 1))
            rc = gr_nomem(err, g->id);
        if (id.p)
            u.id = id.p;
        rc = rc ? rc : deal(d, &u, err);
        gr_buf_clear(&id);
    }
    return rc;
}

/* The better answer is first or second by chance, so that its place says nothing. */
static gram_status deal_pair(struct dealing *d, const gr_row *row, gram_err *err)
{
    int first = gr_digest(GR_DIGEST, row->id, strlen(row->id)) >> 32 & 1;
    const char *const answer[2] = { row->chosen, row->rejected };
    const struct unlabelled u = { row->id, { row->turn, row->n_turns, NULL, row->criteria },
                                  { answer[first], answer[!first] },
                                  row->tie ? -1 : row->soft < 0.5 ? !first : first };

    return deal(d, &u, err);
}

static gram_status deal_file(struct dealing *d, const char *path, gram_err *err)
{
    const gram_selftrain_options *o = d->r->o;
    gr_reader *in;
    bool end = false;
    gram_status rc = gr_reader_open(&in, path, o->unlabelled_columns, err);

    while (!rc && !end) {
        gr_group group;
        gr_row pair;
        gram_err why = { 0 };
        rc = gr_reader_any(in, &group, &pair, &end, &why);
        if (!rc && !end && (group.tools || pair.tools || pair.chosen_extra || pair.rejected_extra)) {
            const gr_at at = gr_reader_at(in, &why);
            rc = gr_bad(&at, "a conversation with tools has no proofs");
        }
        if (!rc && !end)
            rc = group.n ? deal_group(d, &group, &why) : deal_pair(d, &pair, &why);
        gr_group_clear(&group);
        gr_row_clear(&pair);
        if (rc == GRAM_EFORMAT && o->skip_bad) {
            if (d->r->calls && d->r->calls->warn)
                d->r->calls->warn(d->r->calls->arg, why.text);
            rc = GRAM_OK;
        } else if (rc) {
            rc = gr_fail(err, rc, "%s", why.text);
        }
    }
    gr_reader_close(in);
    return rc;
}

gram_status gr_selftrain_pairs(const gr_self_round *r, gram_err *err)
{
    struct dealing d = { .r = r };
    gram_status rc = open_out(&d.out, r->folder, "pairs.jsonl", err);

    if (rc)
        return rc;
    rc = deal_file(&d, r->o->unlabelled, err);
    for (size_t i = 0; r->o->more_unlabelled && r->o->more_unlabelled[i] && !rc; i++)
        rc = deal_file(&d, r->o->more_unlabelled[i], err);
    if (!rc && !d.taken)
        rc = gr_fail(err, GRAM_EARG, "unlabelled: there are %llu pairs, and round %zu of %zu gets none",
                     (unsigned long long)d.seen, r->round, r->o->rounds);
    return commit(d.out, rc, err);
}

/* ---- Labels --------------------------------------------------------------------------------------- */

struct labelling {
    const gr_self_round *r;
    gr_out *kept, *dropped;
    gram_voted_labels *n;
    json_t *vote;                   /* read, and not yet given to its pair */
    bool some;                      /* pairs have none, since the judge could not read them */
};

static void count(gram_rule_count *c, int right)
{
    c->n++;
    c->known += right >= 0;
    c->right += right > 0;
}

/* right: whether the vote is the label that is known; -1: there is none, or no vote. */
static void count_pair(gram_voted_labels *n, const gram_reasoned *v, const gr_denoised *d, int known, int right)
{
    size_t first = gr_denoise_first(d->broke);

    n->pairs++;
    n->known += known >= 0;
    n->rationales += v->n;
    n->forced += v->forced;
    n->contradicts += v->contradicts;
    n->tokens += v->written;
    for (size_t i = 0; i < GRAM_RULES; i++)
        n->broke[i] += d->broke >> i & 1;
    if (first < GRAM_RULES)
        count(&n->dropped[first], right);
    count(first < GRAM_RULES ? &n->lost : &n->kept, right);
}

static json_t *right_json(int right)
{
    return right < 0 ? json_null() : json_boolean(right);
}

static json_t *voted_json(const gr_denoised *d, int right)
{
    return json_pack("{s:o, s:[o,o], s:o}", "share", gr_json_real(d->share), "probability", gr_json_real(d->p[0]),
                     gr_json_real(d->p[1]), "right", right_json(right));
}

static gram_status write_kept(struct labelling *l, const json_t *pair, const gr_denoised *d, int right, gram_err *err)
{
    static const char *const key[] = { "response1", "response2" };

    json_t *o = json_pack("{s:O, s:O, s:O, s:O, s:o, s:O*}", "id", json_object_get(pair, "id"), "prompt",
                          json_object_get(pair, "prompt"), "chosen", json_object_get(pair, key[d->winner]), "rejected",
                          json_object_get(pair, key[1 - d->winner]), "voted", voted_json(d, right), "criteria",
                          json_object_get(pair, "criteria"));

    return write_line(l->kept, o, err);
}

static gram_status write_dropped(struct labelling *l, const json_t *pair, const gr_denoised *d, int right,
                                 gram_err *err)
{
    json_t *broke = json_array();

    for (size_t i = 0; i < GRAM_RULES && broke; i++)
        if ((d->broke >> i & 1) && json_array_append_new(broke, json_string(gram_rule_name((gram_rule)i)))) {
            json_decref(broke);
            broke = NULL;
        }
    return write_line(l->dropped, json_pack("{s:O, s:o, s:s, s:o}", "id", json_object_get(pair, "id"), "broke", broke,
                                            "rule", gram_rule_name((gram_rule)gr_denoise_first(d->broke)), "voted",
                                            voted_json(d, right)), err);
}

static gram_status label_pair(struct labelling *l, const json_t *pair, const gram_reasoned *v, gram_err *err)
{
    int known = (int)json_integer_value(json_object_get(pair, "known")) - 1, right;
    gr_denoised d;
    gram_status rc = gr_denoise(v, l->r->label, &l->r->o->rules, &d, err);

    if (rc)
        return rc;
    right = known < 0 || d.winner < 0 ? -1 : d.winner == known;
    count_pair(l->n, v, &d, known, right);
    return d.broke ? write_dropped(l, pair, &d, right, err) : write_kept(l, pair, &d, right, err);
}

/* The next row of a file that this run has written, NULL at the end. */
static gram_status next_json(gr_lines *in, const char *path, json_t **out, gram_err *err)
{
    const char *line;
    size_t n;
    gram_status rc = gr_lines_next(in, &line, &n, err);

    *out = NULL;
    if (rc || !line)
        return rc;
    *out = json_loadb(line, n, 0, NULL);
    return *out ? GRAM_OK : gr_fail(err, GRAM_EFORMAT, "%s:%llu: wanted an object of JSON", path,
                                    (unsigned long long)gr_lines_number(in));
}

/* What a line of votes.jsonl says; a pair that was too long has no rationales. */
static gram_status read_vote(const json_t *o, const char *path, uint64_t line, gram_reasoned *out, gram_err *err)
{
    const char *why;
    gram_status rc;

    *out = (gram_reasoned){ 0 };
    if (json_is_true(json_object_get(o, "dropped")) || !json_array_size(json_object_get(json_array_get(
            json_object_get(o, "orders"), 0), "p")))
        return GRAM_OK;
    rc = gr_reasoned_get(o, out, &why);
    return rc ? gr_fail(err, rc, "%s:%llu: %s", path, (unsigned long long)line, why) : GRAM_OK;
}

/* The next pair and its vote, which one that could not be judged lacks under skip-bad. *end: there are no more. */
static gram_status label_next(struct labelling *l, gr_lines *in[2], char *const path[2], bool *end, gram_err *err)
{
    json_t *pair = NULL;
    gram_reasoned v = { 0 };
    const char *id[2];
    bool voted;
    gram_status rc = next_json(in[0], path[0], &pair, err);

    if (!rc && !l->vote)
        rc = next_json(in[1], path[1], &l->vote, err);
    *end = !rc && !pair && !l->vote;
    id[0] = json_string_value(json_object_get(pair, "id"));
    id[1] = json_string_value(json_object_get(l->vote, "id"));
    voted = id[0] && id[1] && !strcmp(id[0], id[1]);
    if (!rc && !*end && !voted && !(id[0] && l->some))
        rc = gr_fail(err, GRAM_EFORMAT, "%s:%llu: wanted the vote on pair %s, found %s", path[1],
                     (unsigned long long)gr_lines_number(in[1]), id[0] ? id[0] : "(none)", id[1] ? id[1] : "(none)");
    if (!rc && voted)
        rc = read_vote(l->vote, path[1], gr_lines_number(in[1]), &v, err);
    if (!rc && !*end)
        rc = label_pair(l, pair, &v, err);
    if (voted) {
        json_decref(l->vote);
        l->vote = NULL;
    }
    gram_reasoned_clear(&v);
    json_decref(pair);
    return rc;
}

static int by_digest(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* The digests of a file's ids, in the order of their numbers, and how many lines it has. */
static gram_status read_ids(const char *path, uint64_t **out, size_t *n, gram_err *err)
{
    gr_lines *in;
    json_t *o = NULL;
    size_t cap = 0;
    gram_status rc = gr_lines_open(&in, path, err);

    *out = NULL;
    *n = 0;
    if (rc)
        return rc;
    while (!(rc = next_json(in, path, &o, err)) && o) {
        const char *id = json_string_value(json_object_get(o, "id"));
        uint64_t *grown = gr_grown(*out, *n, &cap, 1, sizeof **out);
        if (grown) {
            *out = grown;
            grown[(*n)++] = gr_digest_text(GR_DIGEST, id ? id : "");
        }
        json_decref(o);
        if (!grown) {
            rc = gr_nomem(err, path);
            break;
        }
    }
    gr_lines_close(in);
    if (*n)
        qsort(*out, *n, sizeof **out, by_digest);
    return rc;
}

/* l->some: pairs have no vote, and which they are their ids tell, if no two of them are alike. */
static gram_status find_some(struct labelling *l, char *const path[2], gram_err *err)
{
    uint64_t *id[2] = { NULL, NULL };
    size_t n[2] = { 0, 0 };
    gram_status rc = l->r->o->skip_bad ? read_ids(path[0], &id[0], &n[0], err) : GRAM_OK;

    if (!rc && l->r->o->skip_bad)
        rc = read_ids(path[1], &id[1], &n[1], err);
    l->some = n[1] < n[0];
    for (size_t i = 1; i < n[0] && l->some && !rc; i++)
        if (id[0][i] == id[0][i - 1])
            rc = gr_fail(err, GRAM_EFORMAT, "%s: the judge could not read %zu of %zu pairs, and ids that occur twice "
                         "do not tell which: wanted another id for each", path[0], n[0] - n[1], n[0]);
    free(id[0]);
    free(id[1]);
    return rc;
}

static gram_status label_all(struct labelling *l, gram_err *err)
{
    char *path[2] = { gr_path_join(l->r->folder, "pairs.jsonl"), gr_path_join(l->r->folder, "votes.jsonl") };
    gr_lines *in[2] = { NULL, NULL };
    bool end = false;
    gram_status rc = path[0] && path[1] ? GRAM_OK : gr_nomem(err, l->r->folder);

    if (!rc)
        rc = find_some(l, path, err);
    for (int i = 0; i < 2 && !rc; i++)
        rc = gr_lines_open(&in[i], path[i], err);
    while (!rc && !end) {
        rc = label_next(l, in, path, &end, err);
        if (!rc && should_stop(l->r))
            rc = gr_fail(err, GRAM_ESTOPPED, "%s: stopped", l->r->folder);
    }
    for (int i = 0; i < 2; i++) {
        if (in[i])
            gr_lines_close(in[i]);
        free(path[i]);
    }
    json_decref(l->vote);
    return rc;
}

/* Nothing to learn from is no round: what took most of the pairs is said. */
static gram_status check_some(const gr_self_round *r, const gram_voted_labels *n, gram_err *err)
{
    size_t most = 0;

    for (size_t i = 1; i < GRAM_RULES; i++)
        if (n->dropped[i].n > n->dropped[most].n)
            most = i;
    if (n->kept.n)
        return GRAM_OK;
    return gr_fail(err, GRAM_EARG, "%s: none of its %llu pairs passed the rules, and %llu fell to `%s`: rules.json has "
                   "them all; rules are loosened by their keys", r->folder, (unsigned long long)n->pairs,
                   (unsigned long long)n->dropped[most].n, gram_rule_name((gram_rule)most));
}

/* ---- rules.json ----------------------------------------------------------------------------------- */

static gram_status write_rules(const gr_self_round *r, const gram_voted_labels *n, gram_err *err)
{
    gr_out *out;
    gram_status rc = open_out(&out, r->folder, "rules.json", err);

    return rc ? rc : commit(out, write_line(out, gr_selftrain_labels_json(n), err), err);
}

gram_status gr_selftrain_labels(const gr_self_round *r, gram_voted_labels *out, gram_err *err)
{
    struct labelling l = { .r = r, .n = out };
    gram_status rc;

    *out = (gram_voted_labels){ 0 };
    rc = open_out(&l.kept, r->folder, "labels.jsonl", err);
    if (!rc)
        rc = open_out(&l.dropped, r->folder, "dropped.jsonl", err);
    if (!rc)
        rc = label_all(&l, err);
    if (!rc)
        rc = write_rules(r, out, err);
    if (l.dropped)
        rc = commit(l.dropped, rc, err);
    if (!rc)
        rc = check_some(r, out, err);
    if (l.kept)
        rc = commit(l.kept, rc, err);       /* last: it is what says that all of them are whole */
    return rc;
}

/* ---- What files say ------------------------------------------------------------------------------- */

static gram_status load(const char *path, json_t **out, gram_err *err)
{
    char *text;
    size_t n;
    gram_status rc = gr_read_file(path, NUMBERS_MOST, &text, &n, err);

    *out = NULL;
    if (rc)
        return rc;
    *out = json_loadb(text, n, 0, NULL);
    free(text);
    return *out ? GRAM_OK : gr_fail(err, GRAM_EFORMAT, "%s: wanted an object of JSON", path);
}

static uint64_t number(const json_t *o, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(o, key));
}

static gram_rule_count count_of(const json_t *o)
{
    return (gram_rule_count){ number(o, "pairs"), number(o, "known"), number(o, "right") };
}

gram_status gr_selftrain_read_rules(const char *folder, gram_voted_labels *out, gram_err *err)
{
    char *path = gr_path_join(folder, "rules.json");
    json_t *o = NULL;
    gram_status rc = path ? load(path, &o, err) : gr_nomem(err, folder);

    *out = (gram_voted_labels){ .pairs = number(o, "pairs"), .known = number(o, "known"),
                                .kept = count_of(json_object_get(o, "kept")),
                                .lost = count_of(json_object_get(o, "dropped")), .rationales = number(o, "rationales"),
                                .forced = number(o, "forced"), .contradicts = number(o, "contradicts"),
                                .tokens = number(o, "tokens") };
    for (size_t i = 0; i < GRAM_RULES; i++) {
        const json_t *rule = json_object_get(json_object_get(o, "rules"), gram_rule_name((gram_rule)i));
        out->broke[i] = number(rule, "broke");
        out->dropped[i] = count_of(json_object_get(rule, "dropped"));
    }
    json_decref(o);
    free(path);
    return rc;
}

gram_status gr_selftrain_count_proofs(const char *path, gram_selftrain_round *r, double *score, gram_err *err)
{
    gr_lines *in;
    json_t *o = NULL;
    gram_status rc = gr_lines_open(&in, path, err);

    if (rc)
        return rc;
    while (!(rc = next_json(in, path, &o, err)) && o) {
        bool proved = json_is_string(json_object_get(o, "rationale"));
        r->rows++;
        r->proved += proved;
        *score += proved ? json_number_value(json_object_get(o, "score")) : 0;
        json_decref(o);
    }
    gr_lines_close(in);
    return rc;
}

static double real(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

gram_status gr_selftrain_read_eval(const char *path, gram_interval *accuracy, uint64_t *rows, gram_err *err)
{
    json_t *o, *sum, *a;
    gram_status rc = load(path, &o, err);

    sum = json_object_get(o, "summary");
    a = json_object_get(sum, "accuracy");
    if (!rc && !json_is_object(a))
        rc = gr_fail(err, GRAM_EFORMAT, "%s: wanted the numbers of an evaluation, found no accuracy", path);
    *accuracy = (gram_interval){ real(a, "value"), real(a, "low"), real(a, "high") };
    *rows = number(sum, "rows");
    json_decref(o);
    return rc;
}
