/* test_align_nomem.c - a policy's run in which an allocation fails: it says so and gives everything back, or, where
 * what failed was for speed alone, such as a place in a cache, it ends with the same bits. One in eleven allocations of
 * a rollout and its step is made to fail, from another first one in each method. */
#include "policy_run.h"
#include "nomem_json.h"

enum { STEP = 11 };

static const char *const method[][4] = { { "algorithm=rloo", "kl=k1", "resample=1" },
                                         { "algorithm=raft", "global=true", "top-p=0.9" },
                                         { "algorithm=ppo", "kl=k1", "lora-rank=2" },
                                         { "algorithm=online-dpo", "beta=0.1" },
                                         { "algorithm=remax", "whiten=yes" } };

/* One run, of which allocation `fails` fails, below 0: none; *digest of what it leaves. */
static gram_status once(size_t which, long fails, uint64_t *digest, bool *failed)
{
    static const char *const small[] = { "cut=keep", "samples=2", "rollout-prompts=2", "batch-rows=2", "steps=1",
                                         "max-new-tokens=3" };
    static int count;
    const char *set[GR_COUNT(small) + 4];
    size_t n = 0;
    gram_train_options o;
    char name[32], *dir;
    gram_status rc;
    long live;

    for (; n < 4 && method[which][n]; n++)
        set[n] = method[which][n];
    for (size_t i = 0; i < GR_COUNT(small); i++)
        set[n++] = small[i];
    settle(&o, set, n);
    snprintf(name, sizeof name, "run%d", count++);
    dir = check_tmppath(name);
    live = nomem_live;
    nomem_left = fails;
    rc = gram_align(policy, prompts, dir, &o, NULL, &check_err);
    *failed = fails >= 0 && nomem_left < 0;
    nomem_left = -1;
    if (fails >= 0 && nomem_live > live)
        fail_msg("%s, allocation %ld: %ld blocks are lost", method[which][0], fails, nomem_live - live);
    *digest = rc ? 0 : digest_file(dir, o.lora_rank ? "adapter_model.safetensors" : "model.safetensors") ^
                       digest_file(dir, "samples.jsonl");
    free(dir);
    return rc;
}

static void what_fails_is_said(void **state)
{
    (void)state;
    for (size_t which = 0; which < GR_COUNT(method); which++) {
        uint64_t whole, again;
        bool failed = NOMEM_COUNTED;
        long said = 0;
        CHECK_OK(once(which, -1, &whole, &(bool){ false }));
        CHECK_OK(once(which, -1, &again, &(bool){ false }));
        assert_true(whole == again);
        for (long n = (long)which; failed; n += STEP) {
            gram_status rc = once(which, n, &again, &failed);
            said += rc == GRAM_ENOMEM;
            if (rc ? !failed || rc != GRAM_ENOMEM : again != whole)
                fail_msg("%s, allocation %ld: %s", method[which][0], n, rc ? check_err.text : "other bits");
        }
        assert_true(said > 40 || !NOMEM_COUNTED);
    }
}

static int begin(void **state)
{
    json_set_alloc_funcs(json_take, json_give);
    return write_prompts(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(what_fails_is_said) };

    return cmocka_run_group_tests(tests, begin, free_prompts);
}
