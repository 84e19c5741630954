/* test_align_dist.c - a policy's run shared out over processes: four of them draw what one draws, to the bit, while the
 * weights are the same, and end with its weights as far as the order of the sums lets them.
 *
 * The program starts itself under mpirun, as `test_align_dist KIND OUT`. */
#include <float.h>
#include "file/weights.h"
#include "mpirun.h"
#include "policy_run.h"

#define RATE 1e-3
enum { STEPS = 4, SETTINGS = 9 };

static const struct kind { const char *name, *file, *set[SETTINGS]; } kinds[] = {
    { "rloo", "model.safetensors", { "algorithm=rloo", SOME, "resample=2", "kl=k3", "kl-in=loss", "cut=keep",
                                     "batch-tokens=300" } },
    { "ppo", "adapter_model.safetensors", { "algorithm=ppo", "updates=1", "kl=k1", "cut=keep", "lora-rank=2",
                                            "eval-file=HELD", "best=true", "eval-every=2" } },
    { "online-dpo", "model.safetensors", { "algorithm=online-dpo", "cut=keep" } },
    { "remax", "model.safetensors", { "algorithm=remax", "kl=none", "cut=keep", "rollout-prompts=2" } },
};

static const struct kind *kind_of(const char *name)
{
    for (size_t i = 0; i < GR_COUNT(kinds); i++)
        if (!strcmp(name, kinds[i].name))
            return &kinds[i];
    return NULL;
}

static gram_status train(const struct kind *k, const char *out, gram_dist *d, gram_err *err)
{
    const char *set[SETTINGS + 1];
    char *own[SETTINGS + 1];
    gram_train_options o;
    gram_status rc;
    size_t n = 0;

    for (; n < SETTINGS && k->set[n]; n++)
        set[n] = own[n] = filled(k->set[n]);
    settle(&o, set, n);
    o.lr = RATE;
    o.dist = d;
    rc = gram_align(MODEL, prompts, out, &o, NULL, err);
    while (n-- > 0)
        free(own[n]);
    return rc;
}

static int take_part(const char *kind, const char *out)
{
    gram_dist *d;
    gram_err err;
    gram_status rc;

    prompts = getenv("TEST_PROMPTS");
    held = getenv("TEST_HELD");
    mpirun_hold_on();
    if (gram_dist_open(&d, mpirun_say, NULL, &err))
        return puts(err.text), 1;
    rc = train(kind_of(kind), out, d, &err);
    if (rc && gram_dist_speaks(d))
        mpirun_say(NULL, &err);
    gram_dist_close(d);
    return rc != GRAM_OK;
}

static const char *self;

static void four(const struct kind *k, const char *out)
{
    char command[2000];
    int status;

    snprintf(command, sizeof command, "TEST_PROMPTS='%s' TEST_HELD='%s' " MPIRUN_APART "mpirun -np 4 '%s' %s '%s' 2>&1",
             prompts, held, check_tmpdir(), self, k->name, out);
    status = mpirun_status(system(command));
    if (status)
        fail_msg("%s: four processes ended with %d", k->name, status);
}

static void near(const json_t *a, const json_t *b, const char *what, size_t line)
{
    if (!(fabs(json_number_value(a) - json_number_value(b)) <= 1e-5 * fmax(1, fabs(json_number_value(a)))))
        fail_msg("sample %zu: %s: %.9g and %.9g", line, what, json_number_value(a), json_number_value(b));
}

/* What the reference, and PPO's value head, makes of a text is read in micro-batches of a process's own rows, and
 * oneDNN's products for AVX2 add up a row's terms in an order that follows from how many rows there are: numbers of
 * about 6 were seen some 3e-7 apart, a unit in the last place. They are compared, and go. */
static void near_passes(json_t *a, json_t *b, size_t line)
{
    const json_t *x = json_object_get(a, "ref_logprobs"), *y = json_object_get(b, "ref_logprobs");

    assert_int_equal(json_array_size(x), json_array_size(y));
    for (size_t i = 0; i < json_array_size(x); i++)
        near(json_array_get(x, i), json_array_get(y, i), "ref_logprobs", line);
    near(json_object_get(a, "advantage"), json_object_get(b, "advantage"), "advantage", line);
    json_object_del(a, "ref_logprobs"), json_object_del(b, "ref_logprobs");
    json_object_del(a, "advantage"), json_object_del(b, "advantage");
}

/* The lines of the first rollout, byte for byte but for these. */
static void same_samples(const char *one, const char *other)
{
    json_t *a = read_lines(one, "samples.jsonl"), *b = read_lines(other, "samples.jsonl");
    size_t first = 0;

    assert_true(json_array_size(a) > 0 && json_array_size(a) == json_array_size(b));
    for (; first < json_array_size(a) && of(json_array_get(a, first), "step") == 1; first++) {
        json_t *x = json_array_get(a, first), *y = json_array_get(b, first);
        near_passes(x, y, first);
        if (!json_equal(x, y))
            fail_msg("sample %zu: %s and %s", first, json_dumps(x, 0), json_dumps(y, 0));
    }
    assert_true(first > 0);
    json_decref(a), json_decref(b);
}

/* Terms of a gradient: the tokens of a step's two prompts with three answers each, of which one is cut at 20. */
#define TERMS (2 * 3 * 60)

/* docs/training.md derives sqrt(8 n eps) times the sum of the rates; of PPO the adapters' own rate. */
static void same_weights(const struct kind *k, const char *one, const char *other)
{
    char *x = gr_path_join(one, k->file), *y = gr_path_join(other, k->file);
    double off = 0, size = 0, n = 0, bound = sqrt(8 * TERMS * FLT_EPSILON) * STEPS * RATE;
    gr_st *a, *b;

    CHECK_OK(gr_st_open(&a, x, &check_err));
    CHECK_OK(gr_st_open(&b, y, &check_err));
    assert_true(gr_st_count(a) == gr_st_count(b) && gr_st_count(a) > 10);
    for (size_t i = 0; i < gr_st_count(a); i++) {
        const gr_named *s = gr_st_at(a, i), *t = gr_st_at(b, i);
        assert_string_equal(s->name, t->name);
        for (size_t c = 0; c < s->bytes / sizeof(float); c++, n++) {
            double p = ((const float *)s->data)[c], q = ((const float *)t->data)[c];
            off += (p - q) * (p - q);
            size += p * p;
        }
    }
    if (!(sqrt(off / n) <= bound && size > 0))
        fail_msg("%s: weights of one process and of four are %g apart, and may be %g", k->name, sqrt(off / n), bound);
    gr_st_close(a);
    gr_st_close(b);
    free(x);
    free(y);
}

/* The numbers of the first step are those of all answers, whoever has learnt them. */
static void same_numbers(const struct kind *k, const char *one, const char *other)
{
    static const char *const key[] = { "loss", "grad_norm", "reward", "entropy", "kl", "val/ratio", "loss/value_avg",
                                       "val/explained_variance", "rewards/margins", "resampled", "learnt" };
    outcome a = { .lines = read_lines(one, "metrics.jsonl") }, b = { .lines = read_lines(other, "metrics.jsonl") };

    for (size_t i = 0; i < GR_COUNT(key); i++) {
        double x = of(step_of(&a, 1), key[i]), y = of(step_of(&b, 1), key[i]);
        if (!(isnan(x) && isnan(y)) && !(fabs(x - y) <= TERMS * FLT_EPSILON * (1 + fabs(x))))
            fail_msg("%s: %s: %.9g by one process, %.9g by four", k->name, key[i], x, y);
    }
    json_decref(a.lines), json_decref(b.lines);
}

static void four_are_one(void **state)
{
    const struct kind *k = *state;
    char one[512], other[512];

    snprintf(one, sizeof one, "%s/%s-one", check_tmpdir(), k->name);
    snprintf(other, sizeof other, "%s/%s-four", check_tmpdir(), k->name);
    CHECK_OK(train(k, one, NULL, &check_err));
    four(k, other);
    same_samples(one, other);
    same_numbers(k, one, other);
    same_weights(k, one, other);
}

int main(int argc, char **argv)
{
    struct kind k[GR_COUNT(kinds)];             /* cmocka hands over what may be written to */
    const struct CMUnitTest tests[] = {
        { "rloo", four_are_one, NULL, NULL, &k[0] }, { "ppo", four_are_one, NULL, NULL, &k[1] },
        { "online-dpo", four_are_one, NULL, NULL, &k[2] }, { "remax", four_are_one, NULL, NULL, &k[3] },
    };

    memcpy(k, kinds, sizeof k);
    if (argc == 3)
        return take_part(argv[1], argv[2]);
    mpirun_env();
    if (mpirun_missing())
        return puts("  mpirun is not installed: runs of several processes were not tried"), 77;
    self = argv[0];
    return cmocka_run_group_tests(tests, write_prompts, free_prompts);
}
