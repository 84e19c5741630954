/* policy_run.h - a policy's run on a tiny model that reads bytes, and what it left, for the tests of it.
 *
 * The judge is a shell loop that gives each line a number, or what a test says. */
#ifndef TESTS_API_POLICY_RUN_H
#define TESTS_API_POLICY_RUN_H

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "check.h"
#include "file/io.h"
#include "gram/align.h"

#define MODEL "tests/golden/train/judge"
#define OTHER "tests/golden/archs/olmo2"               /* of others */
#define REWARD "tests/golden/rewards/qwen2"            /* of the same words */
/* A number that follows from what was answered and from nothing else. */
#define JUDGE "exec:while read -r l; do l=${l#*completion}; echo $(( ${#l} % 7 )); done"
/* The same as their length, but for prompts that say "again" always one number. */
#define SOME \
    "judge=exec:while read -r l; do case $l in *again*) echo 1;; *) l=${l#*completion}; echo ${#l};; esac; done"

static char *prompts, *held;
static const char *policy = MODEL;
static gram_warn_fn *noted;            /* gets what a run has to say */

/* Around a group of tests. */
static inline int write_prompts(void **state)
{
    gr_buf b = { 0 };

    (void)state;
    for (int i = 0; i < 12; i++)
        assert_true(gr_buf_printf(&b, "{\"prompt\":\"Say %d%s\",\"reference\":\"no\"}\n", i, i % 3 ? "" : " again"));
    prompts = check_write("prompts.jsonl", b.p);
    gr_buf_clear(&b);
    held = check_write("held.jsonl", "{\"prompt\":\"Say it\",\"reference\":\"no\"}\n"
                                     "{\"prompt\":\"And that\",\"reference\":\"yes it is\"}\n");
    return 0;
}

static inline int free_prompts(void **state)
{
    (void)state;
    free(prompts);
    free(held);
    return 0;
}

/* Settings "name=value" over small ones. */
static inline void settle(gram_train_options *o, const char *const *set, size_t n)
{
    static const char *const small[] = { "algorithm=rloo", ("judge=" JUDGE), "max-new-tokens=20", "samples=3",
                                         "rollout-prompts=4", "batch-rows=2", "steps=4", "lr=1e-2", "threads=1",
                                         "warmup=0", "save-every=0" };
    static char value[48][256];

    gram_train_options_init(o, GRAM_STAGE_ALIGN);
    for (size_t i = 0, k = 0; i < GR_COUNT(small) + n; i++) {
        const char *s = i < GR_COUNT(small) ? small[i] : set[i - GR_COUNT(small)], *equals = strchr(s, '=');
        char name[48];
        snprintf(name, sizeof name, "%.*s", (int)(equals - s), s);
        snprintf(value[k], sizeof value[k], "%s", equals + 1);
        if (!strcmp(name, "threads"))
            o->model.threads = atoi(equals + 1);
        else if (!strcmp(name, "algorithm") && i >= GR_COUNT(small)) {  /* it sets others' defaults, so it is first */
            double lr = o->lr;
            CHECK_OK(gram_train_options_set(o, name, value[k++], &check_err));
            o->lr = lr;
            o->align.rollout = 4;
            o->align.samples = 3;
        } else
            CHECK_OK(gram_train_options_set(o, name, value[k++], &check_err));
    }
}

static int runs;
typedef struct { gram_status rc; char dir[512]; uint64_t weights, samples; json_t *lines; } outcome;

static inline uint64_t digest_file(const char *dir, const char *name)
{
    char *path = gr_path_join(dir, name), *text;
    size_t n;
    uint64_t h = 0;

    if (gr_path_exists(path)) {
        CHECK_OK(gr_read_file(path, 1 << 26, &text, &n, &check_err));
        h = gr_digest(GR_DIGEST, text, n);
        free(text);
    }
    free(path);
    return h;
}

/* metrics.jsonl as a list. */
static inline json_t *read_lines(const char *dir, const char *name)
{
    char *path = gr_path_join(dir, name), *text = NULL;
    json_t *list = json_array();
    size_t n;

    if (gr_path_exists(path))
        CHECK_OK(gr_read_file(path, 1 << 26, &text, &n, &check_err));
    for (char *at = text, *end; at && (end = strchr(at, '\n')); at = end + 1)
        json_array_append_new(list, json_loadb(at, (size_t)(end - at), 0, NULL));
    free(text);
    free(path);
    return list;
}

static inline double of(const json_t *line, const char *key)
{
    const json_t *v = json_object_get(line, key);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* Line `step` of the metrics, the held-out ones left out. */
static inline const json_t *step_of(const outcome *o, int step)
{
    size_t i;
    const json_t *line;

    json_array_foreach(o->lines, i, line)
        if (json_object_get(line, "loss") && (int)of(line, "step") == step)
            return line;
    fail_msg("no step %d", step);
    return NULL;
}

static inline outcome run_in(const char *dir, const char *const *set, size_t n)
{
    gram_train_options o;
    outcome out = { .rc = GRAM_OK };

    settle(&o, set, n);
    snprintf(out.dir, sizeof out.dir, "%s/%s", check_tmpdir(), dir);
    o.note = noted;
    out.rc = gram_align(policy, prompts, out.dir, &o, NULL, &check_err);
    out.weights = digest_file(out.dir, o.lora_rank ? "adapter_model.safetensors" : "model.safetensors");
    out.samples = digest_file(out.dir, "samples.jsonl");
    out.lines = read_lines(out.dir, "metrics.jsonl");
    return out;
}

static inline outcome run(const char *const *set, size_t n)
{
    char dir[32];

    snprintf(dir, sizeof dir, "run%d", runs++);
    return run_in(dir, set, n);
}

static inline char *filled(const char *s)
{
    gr_buf b = { 0 };
    const char *at = strstr(s, "HELD");

    assert_true(at ? gr_buf_printf(&b, "%.*s%s", (int)(at - s), s, held) : gr_buf_puts(&b, s));
    return b.p;
}

#endif
