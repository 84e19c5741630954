/* test_nomem.c - the n-th allocation of a request fails, for every n, those of the JSON library among them: the answer
 * is "out of memory" or none at all, never a part of a score, and nothing leaks. */
#include "check.h"
#include "nomem.h"
#include <malloc.h>
#include "api/api_int.h"
#include "fake.h"
#include "letters.h"
#include "serve/serve.h"

static int ask(gr_engine *e, const char *path, const char *body, char **text)
{
    const gr_serve_options o = { .name = "fake", .max_rows = 8, .max_pairs = 20, .max_new_tokens = 16, .quiet = true };

    return gr_serve_try(&o, e, path, body, strlen(body), text);
}

enum { WARM = 2, PASSES = 2 };              /* over all n; what libraries set up once is done in the first */

/* Bytes taken and not given back, by anyone. jansson frees from its own code, where nomem_live does not see it. */
static size_t held(void)
{
    return mallinfo2().uordblks;
}

/* The n-th allocation fails; *whole: there was none to fail. */
static void fail_at(gr_engine *e, const char *path, const char *body, long n, bool *whole)
{
    char *text;
    int status;

    nomem_left = n;
    status = ask(e, path, body, &text);
    *whole = nomem_left >= 0 || !NOMEM_COUNTED;
    nomem_left = -1;
    if (*whole ? status != 200 : status != 503 && status != 200)
        fail_msg("%s: allocation %ld: %d %s", path, n, status, text ? text : "");
    free(text);
}

#define TEXT "<|im_start|>user\\nq<|im_end|>\\n<|im_start|>assistant\\nx<|im_end|>\\n"

static void every_allocation_may_fail(void **state)
{
    enum { OF_A_HEAD = 5 };             /* the last: asked of a model with a head */
    static const struct { const char *path, *body; } good[] = {
        { "/v1/score", "{\"explain\":true,\"pairs\":[{\"prompt\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
          "\"text\":\"p\"}]}],\"a\":\"x\",\"b\":\"yy\"},{\"prompt\":\"p\",\"a\":\"x\",\"b\":\"z\"}]}" },
        { "/v1/score", "{\"prompt\":\"p\",\"a\":\"x\",\"b\":\"yy\"}" },
        { "/v1/score", "{\"rationale\":true,\"votes\":2,\"explain\":true,\"rationale_format\":\"rm-r1\","
          "\"pairs\":[{\"prompt\":\"p\",\"a\":\"x\",\"b\":\"yy\"},{\"prompt\":\"p\",\"a\":\"TOOLONG\",\"b\":\"y\"}]}" },
        { "/v1/rank", "{\"prompt\":\"p\",\"responses\":[\"a\",\"four\",\"three\"],\"method\":\"tournament\"}" },
        { "/v1/rank", "{\"prompt\":\"p\",\"responses\":[\"a\",\"TOOLONG\",\"four\",\"three\"],\"method\":\"linear\","
          "\"partial\":true,\"rationale\":true,\"votes\":1}" },
        { "/v1/reward", "{\"prompt\":\"p\",\"responses\":[\"x\",\"yy\",\"zzz\"]}" },
        { "/v1/reward", "{\"prompt\":\"p\",\"responses\":[\"x\",\"TOOLONG\",\"yy\"],\"partial\":true,"
          "\"criteria\":\"k\",\"rationale\":true,\"votes\":1}" },
        { "/get_reward", "{\"query\":[\"" TEXT "\",\"p a</s>\"],\"prompts\":[\"q\",\"p \"],\"labels\":[\"r\",\"s\"]}" },
        { "/score", "{\"queries\":\"q\",\"documents\":[\"x\",\"yy\"]}" },
        { "/classify", "{\"reference\":\"r\",\"input\":\"" TEXT "\"}" },
        { "/classify", "{\"reference\":\"r\",\"text\":\"" TEXT "\"}" },
        { "/pooling", "{\"reference\":\"r\",\"input\":["
          "60,124,105,109,95,115,116,97,114,116,124,62,117,115,101,114,10,104,60,"
          "124,105,109,95,101,110,100,124,62,10,60,124,105,109,95,115,116,97,114,"
          "116,124,62,97,115,115,105,115,116,97,110,116,10,120]}" },
        { "/v1/embeddings", "{\"reference\":\"r\",\"input\":\"" TEXT "\"}" },
        { "/v1/rerank", "{\"query\":\"q\",\"documents\":[\"x\",\"yyyy\",\"zz\"],\"top_n\":2}" },
        { "/v1/rerank", "{\"query\":\"q\",\"documents\":[\"x\",\"yyyy\"],\"instruct\":\"i\"}" },
        { "/rerank", "{\"query\":\"q\",\"texts\":[\"x\",\"yyyy\"],\"return_text\":true}" },
        { "/predict", "{\"inputs\":[[\"q\",\"x\"],[\"q\",\"yy\"]]}" },
        { "/v1/score/evaluation", "{\"messages\":[\"" TEXT "\"],\"reference\":\"r\"}" },
        { "/compare", "{\"conversation_history\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\","
                      "\"content\":"
          "\"q\"}],\"principle\":\"k\",\"response_objs\":[\"x\",\"yy\"]}" },
        { "/generative_scoring", "{\"query\":\"ab\",\"items\":[\"c\",\"de\"],\"label_token_ids\":[1,2]}" },
        { "/v1/score", "{\"query\":[1,2],\"items\":[[3],[4,5]],\"label_token_ids\":[1,2]}" },
        { "/v1/completions", "{\"prompt\":[[97,98],[99]],\"n\":2,\"logprobs\":1,\"echo\":true,\"max_tokens\":2}" },
        { "/v1/completions", "{\"prompt\":[\"ab\",\"c\"],\"logprobs\":0,\"echo\":true,\"max_tokens\":2,\"n\":2}" },
        { "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"n\":2,\"logprobs\":true,"
          "\"top_logprobs\":2,\"stop\":\"A.\"}" },
        { "/apply-template", "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}" },
        { "/tokenize", "{\"content\":\"ab\",\"add_special\":true}" },
        { "/tokenize", "{\"content\":\"ab\"}" }, { "/detokenize", "{\"tokens\":[104,105]}" },
        { "/v1/score", "{\"pairs\":[{\"prompt\":\"p\",\"a\":\"x\",\"b\":\"\\ud800\"},{\"prompt\":\"p\",\"a\":\"x\","
                       "\"b\":\"z\"},"
          "{\"prompt\":\"p\",\"a\":\"TOOLONG\",\"b\":\"z\"}]}" },
        { "/v1/reward", "{\"prompt\":\"p\",\"partial\":true,\"responses\":[\"x\",\"\\u0000\",\"yy\",\"TOOLONG\","
                        "{\"role\":"
          "\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":1}]}]}" },
        { "/v1/rank", "{\"prompt\":\"p\",\"partial\":true,\"responses\":[\"x\",\"\\u0000\",\"yy\",\"TOOLONG\"]}" },
        { "/get_reward",
          "{\"query\":[\"" TEXT "\"],\"prompts\":[\"<|im_start|>user\\nq<|im_end|>\\n<|im_start|>assistant\\n\"],"
          "\"labels\":[\"r\"]}" },
        { "/get_reward",
          "{\"query\":[\"" TEXT "\"],\"prompts\":[\"<|im_start|>user\\nq<|im_end|>\\n<|im_start|>assistant\\n\"]}" },
        { "/v1/embeddings", "{\"input\":[\"" TEXT "\",\"" TEXT "\"],\"encoding_format\":\"base64\"}" },
        { "/v1/score", "{\"prompt\":\"p\",\"a\":\"x\",\"b\":\"yy\"}" },
        { "/v1/reward", "{\"prompt\":\"p\",\"responses\":[\"x\",\"yy\"]}" },
        { "/v1/rank", "{\"prompt\":\"p\",\"responses\":[\"x\",\"yy\"],\"reference\":\"r\",\"method\":\"reference\"}" },
    };
    gr_engine engine = fake_engine("fake"), head = fake_engine("head");
    long tried = 0;

    (void)state;
    CHECK_OK(engine.open(&engine, &check_err));
    CHECK_OK(head.open(&head, &check_err));
    for (size_t i = 0; i < GR_COUNT(good); i++) {
        size_t before = 0;
        for (int pass = 0; pass < (NOMEM_COUNTED ? WARM + PASSES : 1); pass++) {
            bool whole = false;
            before = pass == WARM ? held() : before;
            for (long n = 0; !whole; n++, tried += pass == 0)
                fail_at(i + OF_A_HEAD < GR_COUNT(good) ? &engine : &head, good[i].path, good[i].body, n, &whole);
        }
        if (NOMEM_COUNTED && held() > before)
            fail_msg("%s leaks %zu bytes", good[i].path, held() - before);
    }
    engine.close(&engine);
    head.close(&head);
    print_message("%ld allocations failed in their turn\n", tried - (long)GR_COUNT(good));
}

/* The same of a model that writes: of two texts at once one waits for the other's memory, both end by stop strings or
 * length, and a whole answer is the one that nothing disturbed. */
static void every_allocation_of_texts_may_fail(void **state)
{
    static const char body[] = "{\"prompt\":[[10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33],"
                               "[20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,41,42]],\"max_tokens\":14,"
                               "\"min_tokens\":13,\"seed\":3,\"stop\":[\"zz\",\"Q\"],\"logprobs\":1}";
    char *dir = check_tmpdir(), *want;
    gr_engine e = { .path = dir, .options = { .threads = 1, .text_bytes = 120 * 3 * 2 * 2 * 8 * sizeof(float),
                                              .judge_prompt = "{input}\n{response_a}\n{response_b}\n" } };
    size_t before = 0;
    long tried = 0;

    (void)state;
    letters_model(dir);
    gr_engine_libgram(&e);
    CHECK_OK(e.open(&e, &check_err));
    assert_int_equal(ask(&e, "/v1/completions", body, &want), 200);
    assert_true(gr_write_count((*(gram_model **)e.self)->chats).put_back > 0);     /* the model is its first member */
    for (int pass = 0; pass < (NOMEM_COUNTED ? 2 : 1); pass++) {
        bool whole = false;
        before = held();
        for (tried = 0; !whole; tried++) {
            char *text;
            int status;
            nomem_left = tried;
            status = ask(&e, "/v1/completions", body, &text);
            whole = nomem_left >= 0 || !NOMEM_COUNTED;
            nomem_left = -1;
            if (status == 200)
                assert_string_equal(strstr(text, "\"choices\""), strstr(want, "\"choices\""));
            else if (whole || status != 503)
                fail_msg("allocation %ld: %d %s", tried, status, text ? text : "");
            free(text);
        }
    }
    if (NOMEM_COUNTED && held() > before)
        fail_msg("%zu bytes are not given back", held() - before);
    free(want);
    e.close(&e);
    print_message("%ld allocations failed in their turn\n", tried - 1);
}

/* glibc's caches of freed chunks count as taken; without them held() is exact. */
static void without_caches(char **argv)
{
    mallopt(M_MXFAST, 0);
    if (NOMEM_COUNTED && !getenv("GLIBC_TUNABLES")) {
        setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0", 1);
        execv("/proc/self/exe", argv);      /* where that fails, held() is too high and the test says so */
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_allocation_may_fail),
                                        cmocka_unit_test(every_allocation_of_texts_may_fail) };

    (void)argc;
    without_caches(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
