/* test_shapes.c - every shape that other servers' clients speak, asked and answered as they do; and every way to ask
 * wrongly, which must never bring a score. The engine is fake.h's. */
#include "shapes.h"

static void a_pair_in_every_spelling(void **state)
{
    static const char *const body[] = {
        "{\"prompt\":\"p\",\"a\":\"one answer\",\"b\":\"another\"}",
        "{\"prompt\":\"p\",\"chosen\":\"one answer\",\"rejected\":\"another\"}",
        "{\"prompt\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"p\"}],"
        "\"response_a\":[{\"role\":\"assistant\",\"content\":\"one answer\"}],"
        "\"response_b\":{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"ano\"},"
        "{\"type\":\"text\",\"text\":\"ther\"}]}}",
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(body); i++) {
        json_t *out = ask("/v1/score", body[i]);
        CLOSE(number(out, "preference"), preference("one answer", "another"));
        CLOSE(number(out, "p_forward"), preference("one answer", "another"));
        assert_int_equal(json_array_size(json_object_get(out, "logits")), 2);
        assert_true(json_is_false(json_object_get(out, "flipped")));
        assert_string_equal(string(out, "winner"), preference("one answer", "another") > 0.5 ? "a" : "b");
        assert_null(json_object_get(out, "lambda"));        /* a judge has none */
        json_decref(out);
    }
    use_head(0);                            /* one reading, which no other can contradict */
    json_t *out = ask("/v1/score", "{\"prompt\":\"p\",\"a\":\"x\",\"b\":\"FLIP\"}");
    assert_true(json_is_false(json_object_get(out, "flipped")) && json_is_null(json_object_get(out, "p_swapped")));
    json_decref(out);
    use_judge();
}

static void many_pairs_come_back_in_order_and_explained(void **state)
{
    json_t *out = ask("/v1/score", "{\"explain\":true,\"pairs\":[{\"prompt\":\"p\",\"a\":\"x\",\"b\":\"yy\"},"
                                   "{\"prompt\":\"p\",\"a\":\"FLIP CUT\",\"b\":\"x\"}]}");

    (void)state;
    assert_int_equal(json_array_size(json_object_get(out, "data")), 2);
    CLOSE(number(out, "data.0.preference"), preference("x", "yy"));
    CLOSE(number(out, "data.1.preference"), 0.5);
    assert_string_equal(string(out, "data.1.winner"), "tie");
    json_t *second = json_array_get(json_object_get(out, "data"), 1);
    assert_true(json_is_true(json_object_get(second, "flipped")));
    assert_true(json_is_true(json_object_get(second, "truncated")));
    assert_string_equal(json_string_value(json_array_get(json_object_get(second, "read"), 1)),
                        "<judge>p\n[A] x\n[B] FLIP CUT</judge>");
    json_decref(out);
}

static void ranking_agrees_with_the_library(void **state)
{
    static const char *const method[] = { "all-pairs", "tournament", "linear", "reference" };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(method); i++) {
        char body[256];
        snprintf(body, sizeof body, "{\"prompt\":\"p\",\"responses\":[\"a\",\"four\",\"three of them\",\"two\"],"
                 "\"reference\":\"r\",\"method\":\"%s\"}", method[i]);
        json_t *out = ask("/v1/rank", body);
        assert_int_equal(json_array_size(json_object_get(out, "results")), 4);
        size_t best = (size_t)number(out, "results.0.index");
        static const char *const text[] = { "a", "four", "three of them", "two" };
        for (size_t k = 0; k < 4; k++)
            assert_true(fake_strength(text[best]) >= fake_strength(text[k]));
        assert_int_equal(json_array_size(json_object_get(out, "comparisons")),
                         (size_t)number(out, "comparison_count"));
        json_decref(out);
    }
}

/* By a judge that reads one order and likes the first seat, who is better is no matter of place. */
static void no_place_has_the_first_seat(void **state)
{
    enum { PROMPTS = 16 };
    size_t wins = 0;

    (void)state;
    for (int i = 0; i < PROMPTS; i++) {
        double first[2];
        for (int back = 0; back < 2; back++) {
            char body[128];
            json_t *rank, *reward;
            snprintf(body, sizeof body, "{\"prompt\":\"SEAT %d\",\"responses\":[\"%s\",\"%s\"]}", i, back ? "yy" : "x",
                     back ? "x" : "yy");
            rank = ask("/v1/rank", body);
            reward = ask("/v1/reward", body);
            first[back] = number(rank, "results.0.index");
            CLOSE(number(reward, "rewards.0"), first[back] == 0 ? 0.75 : 0.25);
            CLOSE(number(rank, "passes"), 1);
            assert_int_equal(json_is_null(at(rank, "comparisons.0.logits.0")),
                             json_is_null(at(rank, "comparisons.0.p_forward")));
            assert_int_equal(json_is_null(at(rank, "comparisons.0.logits.0")), first[back] == 1);
            json_decref(rank);
            json_decref(reward);
        }
        assert_true(first[0] == 1 - first[1]);
        wins += first[0] == 0;
    }
    assert_true(wins >= PROMPTS / 4 && wins <= PROMPTS - PROMPTS / 4);
}

static void rewards_against_a_reference_or_a_group(void **state)
{
    json_t *out = ask("/v1/reward", "{\"prompt\":\"p\",\"responses\":[\"x\",\"yy\",\"zzz\"]}");

    (void)state;
    CLOSE(number(out, "rewards.0"), (preference("x", "yy") + preference("x", "zzz")) / 2);
    CLOSE(number(out, "rewards.2"), (preference("zzz", "yy") + preference("zzz", "x")) / 2);
    assert_int_equal(json_array_size(json_object_get(json_array_get(json_object_get(out, "data"), 0), "comparisons")),
                     2);
    json_decref(out);
    out = ask("/v1/reward", "{\"prompt\":\"p\",\"responses\":[\"x\",\"CUT\",\"yy\"]}");
    assert_true(json_is_true(at(out, "data.0.truncated")) && json_is_true(at(out, "data.2.truncated")));
    json_decref(out);
    out = ask("/v1/reward", "{\"prompt\":\"p\",\"response\":\"x\",\"reference\":\"ref\"}");
    CLOSE(number(out, "rewards.0"), preference("x", "ref"));
    json_decref(out);
    options.reference = "the server's";
    out = ask("/v1/reward", "{\"prompt\":\"p\",\"responses\":[\"x\",\"yy\"],\"reference\":[null,\"own\"]}");
    CLOSE(number(out, "rewards.0"), preference("x", "the server's"));
    CLOSE(number(out, "rewards.1"), preference("yy", "own"));
    json_decref(out);
    options.reference = NULL;
}

/* Its reward, where trainers learn from it; the probability of beating an answer of reward 0, where clients expect 0
 * to 1; and raw as SGLang gives it. */
static void a_lone_response_of_a_model_with_a_head(void **state)
{
    static const struct { const char *path, *body, *at; bool raw; } shape[] = {
        { "/get_reward", "{\"query\":[\"" CHAT("x") "\"]}", "rewards.0", true },
        { "/get_reward", "{\"query\":[\"" CHAT("x") "\"]}", "scores.0", false },
        { "/v1/score/evaluation", "{\"messages\":[\"" CHAT("x") "\"]}", "scores.0", true },
        { "/classify", "{\"input\":\"" CHAT("x") "\"}", "data.0.probs.0", false },
        { "/classify", "{\"activation\":false,\"input\":\"" CHAT("x") "\"}", "data.0.probs.0", true },
        { "/pooling", "{\"input\":\"" CHAT("x") "\"}", "data.0.data.0", false },
        { "/v1/embeddings", "{\"input\":\"" CHAT("x") "\"}", "data.0.embedding.0", true },
        { "/v1/embeddings", "{\"activation\":true,\"input\":\"" CHAT("x") "\"}", "data.0.embedding.0", false },
        { "/classify", "{\"text\":[\"" CHAT("x") "\"]}", "0.embedding.0", true },
        { "/predict", "{\"inputs\":[\"q\",\"x\"]}", "0.score", false },
        { "/predict", "{\"inputs\":[\"q\",\"x\"],\"raw_scores\":true}", "0.score", true },
        { "/score", "{\"queries\":\"q\",\"documents\":[\"x\"]}", "data.0.score", false },
        { "/v1/rerank", "{\"query\":\"q\",\"documents\":[\"x\"],\"use_activation\":false}",
         "results.0.relevance_score", true },
    };
    double r = fake_strength("x"), s = 1 / (1 + exp(-r));
    json_t *out, *one;

    (void)state;
    use_head(30);                           /* there is nothing to overlap with */
    out = ask("/v1/reward", "{\"prompt\":\"p\",\"response\":\"x\"}");
    one = json_array_get(json_object_get(out, "data"), 0);
    CLOSE(number(out, "rewards.0"), r);
    CLOSE(number(one, "margin"), r);
    CLOSE(number(one, "mean"), r);
    CLOSE(number(one, "probability"), s);
    CLOSE(number(one, "sigma"), 0.25);
    assert_true(json_is_null(json_object_get(one, "overlap")));
    CLOSE(number(one, "tokens"), 10);       /* read once */
    CLOSE(number(out, "usage.total_tokens"), 10);
    assert_string_equal(json_string_value(json_object_get(one, "scale")), "head");
    assert_int_equal(json_array_size(json_object_get(one, "comparisons")), 0);
    json_decref(out);
    for (size_t i = 0; i < GR_COUNT(shape); i++) {
        out = ask(shape[i].path, shape[i].body);
        if (fabs(number(out, shape[i].at) - (shape[i].raw ? r : s)) > 1e-12)
            fail_msg("%s %s gave %g", shape[i].path, shape[i].body, number(out, shape[i].at));
        json_decref(out);
    }
    use_judge();
}

/* What gram_rank_rewards() makes of them, to the last bit. */
static void a_group_of_a_model_with_a_head(void **state)
{
    static const char *const text[] = { "x", "yy", "zzz", "yy" };
    static const char *const method[] = { "all-pairs", "tournament", "linear", "reference" };
    gram_reward reward[5];
    gram_ranking want;
    json_t *out;

    (void)state;
    use_head(2);
    for (size_t i = 0; i < 5; i++)
        reward[i] = (gram_reward){ .mean = fake_strength(i < 4 ? text[i] : "ref"), .sigma = 0.25, .tokens = 10 };
    for (size_t k = 0; k < GR_COUNT(method); k++) {
        char body[256];
        snprintf(body, sizeof body, "{\"prompt\":\"p\",\"responses\":[\"x\",\"yy\",\"zzz\",\"yy\"],"
                                    "\"reference\":\"ref\","
                 "\"method\":\"%s\"}", method[k]);
        CHECK_OK(gram_rank_rewards(reward, 4, k == 3 ? &reward[4] : NULL, 2, true, 0, &want, &check_err));
        out = ask("/v1/rank", body);
        for (size_t i = 0; i < 4; i++) {
            char at[4][32];
            snprintf(at[0], sizeof at[0], "results.%zu.index", i);
            snprintf(at[1], sizeof at[1], "results.%zu.score", i);
            snprintf(at[2], sizeof at[2], "rewards.%zu", i);
            snprintf(at[3], sizeof at[3], "overlap.%zu", i);
            assert_int_equal((size_t)number(out, at[0]), want.order[i]);
            assert_true(number(out, at[1]) == want.score[want.order[i]]);
            assert_true(number(out, at[2]) == reward[i].mean && number(out, at[3]) == want.overlap[i]);
        }
        assert_true(number(out, "preference.0.1") == want.preference[1]);
        assert_int_equal((size_t)number(out, "passes"), want.passes);
        assert_int_equal((size_t)number(out, "tokens"), (size_t)number(out, "usage.total_tokens"));
        assert_true(number(out, "comparison_count") == 0 && json_array_size(json_object_get(out, "comparisons")) == 0);
        json_decref(out);
        if (k < 3)
            gram_ranking_clear(&want);
    }
    gram_ranking_clear(&want);
    CHECK_OK(gram_rank_rewards(reward, 4, NULL, 2, true, 0, &want, &check_err));
    out = ask("/v1/reward", "{\"prompt\":\"p\",\"responses\":[\"x\",\"yy\",\"zzz\",\"yy\"],"
              "\"reference\":[null,null,null,null]}");
    assert_string_equal(json_string_value(json_object_get(out, "scale")), "head");
    assert_true(number(out, "rewards.1") == want.score[1] && number(out, "data.1.overlap") == want.overlap[1]);
    assert_true(number(out, "data.2.mean") == reward[2].mean);
    json_decref(out);
    assert_int_equal(ask_status("/v1/reward", "{\"prompt\":\"p\",\"responses\":[\"x\",\"yy\"],"
                                "\"reference\":[null,\"ref\"]}", &out), 422);    /* two scales in one answer */
    json_decref(out);
    out = ask("/rerank", "{\"query\":\"p\",\"documents\":[\"x\",\"yy\",\"zzz\",\"yy\"],\"use_activation\":false}");
    assert_int_equal((size_t)number(out, "results.0.index"), want.order[0]);
    assert_true(number(out, "results.3.relevance_score") == want.score[want.order[3]]);
    json_decref(out);
    out = ask("/rerank", "{\"query\":\"p\",\"texts\":[\"x\",\"yy\",\"zzz\",\"yy\"]}");
    assert_int_equal((size_t)number(out, "1.index"), want.order[1]);
    CLOSE(number(out, "1.score"), 1 / (1 + exp(-want.score[want.order[1]])));
    json_decref(out);
    out = ask("/score", "{\"queries\":[\"p\",\"other\"],\"documents\":[\"x\",\"x\"],\"use_activation\":false}");
    CLOSE(number(out, "data.1.score"), reward[0].mean);     /* each alone with its prompt */
    json_decref(out);
    out = ask("/compare", "{\"conversation_history\":[{\"role\":\"user\",\"content\":\"q\"}],\"response_objs\":[\"x\","
                          "\"yy\"]}");
    CLOSE(number(out, "rewards.0"), preference("x", "yy"));
    json_decref(out);
    out = ask("/v1/score", "{\"prompt\":\"p\",\"a\":\"x\",\"b\":\"yy\"}");
    CLOSE(number(out, "lambda"), 2);
    CLOSE(number(out, "rewards.1"), reward[1].mean);
    json_decref(out);
    gram_ranking_clear(&want);
    use_judge();
}

static void openrlhf(void **state)
{
    static const char *const before[] = { "<|begin_of_text|>", "<s>", "<bos>", "<|endoftext|>" };
    json_t *out = ask("/get_reward", "{\"query\":[\"" CHAT("ans") "\","
                      "\"plain prompt plain answer</s>\"],\"prompts\":[\"x\",\"plain prompt "
                      "\"],\"labels\":[\"ref\",\"other\"]}");

    (void)state;
    CLOSE(number(out, "rewards.0"), preference("ans", "ref"));
    CLOSE(number(out, "scores.1"), preference("plain answer", "other"));
    assert_string_equal(json_string_value(json_object_get(out, "scale")), "reference");
    assert_int_equal(json_array_size(json_object_get(json_object_get(out, "extra_logs"), "margin")), 2);
    json_decref(out);
    for (size_t i = 0; i < GR_COUNT(before); i++) {     /* what decoding puts there is no part of the answer */
        char body[200];
        snprintf(body, sizeof body, "{\"query\":[\"%splain prompt ans\"],\"prompts\":[\"plain prompt \"],"
                 "\"labels\":[\"ref\"]}", before[i]);
        out = ask("/get_reward", body);
        CLOSE(number(out, "scores.0"), preference("ans", "ref"));
        json_decref(out);
    }
    static const char *const same[] = { "\\n\\nHuman: q\\n\\nAssistant:", "[INST] q [/INST]", "<s>[INST] q [/INST]",
                                        "<start_of_turn>user\\nq<end_of_turn>\\n<start_of_turn>model\\n" };
    for (size_t i = 0; i < GR_COUNT(same); i++) {       /* one question in two families' marks: they are compared */
        char body[400];
        snprintf(body, sizeof body, "{\"query\":[\"%sx\",\"" FRONT "yy\"],\"prompts\":[\"%s\",\"" FRONT "\"]}", same[i],
                 same[i]);
        out = ask("/get_reward", body);
        CLOSE(number(out, "rewards.0"), preference("x", "yy"));
        json_decref(out);
    }
    for (int head = 0; head < 2; head++) {              /* a reference of the request goes before labels, and a head */
        if (head)
            use_head(0);
        out = ask("/get_reward", "{\"query\":[\"plain prompt plain answer</s>\"],\"prompts\":[\"plain prompt \"],"
                                 "\"labels\":[\"other\"],\"reference\":\"ref\"}");
        assert_string_equal(string(out, "scale"), "reference");
        CLOSE(number(out, "scores.0"), preference("plain answer", "ref"));
        json_decref(out);
    }
    use_judge();
}

static void vllm(void **state)
{
    static const char *const both[] = {
        "{\"queries\":\"q\",\"documents\":[\"x\",\"yy\"]}", "{\"text_1\":[\"q\"],\"text_2\":[\"x\",\"yy\"]}",
        "{\"data_1\":[\"q\",\"q\"],\"data_2\":[\"x\",\"yy\"]}", "{\"queries\":\"q\",\"items\":[\"x\",\"yy\"]}",
    };
    json_t *out;

    (void)state;
    for (size_t i = 0; i < GR_COUNT(both); i++) {
        out = ask(i % 2 ? "/score" : "/v1/score", both[i]);
        CLOSE(number(out, "data.0.score"), preference("x", "yy"));
        CLOSE(number(out, "data.1.score"), preference("yy", "x"));
        assert_string_equal(json_string_value(json_object_get(out, "object")), "list");
        json_decref(out);
    }
    out = ask("/classify", "{\"model\":\"m\",\"activation\":false,\"reference\":\"ref\","
              "\"input\":\"<|im_start|>user\\nq<|im_end|>\\n<|im_start|>assistant\\nx<|im_end|>\\n\"}");
    CLOSE(number(out, "data.0.probs.0"), fake_strength("x") - fake_strength("ref"));
    json_decref(out);
    out = ask("/v1/classify", "{\"reference\":\"ref\",\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
              "{\"role\":\"assistant\",\"content\":\"x\"}]}");
    CLOSE(number(out, "data.0.probs.0"), preference("x", "ref"));
    CLOSE(number(out, "data.0.num_classes"), 1);
    json_decref(out);
    out = ask("/pooling", "{\"reference\":\"ref\",\"input\":[\"" CHAT("x") "\"]}");
    CLOSE(number(out, "data.0.data.0"), preference("x", "ref"));
    json_decref(out);
    out = ask("/v1/embeddings", "{\"reference\":\"ref\",\"input\":\"" CHAT("x") "\"}");
    CLOSE(number(out, "data.0.embedding.0"), preference("x", "ref"));
    json_decref(out);
    out = ask("/classify", "{\"reference\":\"ref\",\"conv\":[[{\"role\":\"user\",\"content\":\"q\"},"
              "{\"role\":\"assistant\",\"content\":\"x\"}]]}");
    CLOSE(number(out, "0.embedding.0"), preference("x", "ref"));
    json_decref(out);
}

/* Of a checkpoint that puts a BOS token in front. */
static gram_status with_bos(gr_engine *e, const char *text, size_t bytes, int32_t **out, size_t *n, gram_err *err)
{
    char more[64];

    snprintf(more, sizeof more, "^%.*s", (int)bytes, text);
    return e->tokenize(e, more, bytes + 1, true, out, n, err);
}

static int32_t read_first;                  /* token of the text whose labels were asked for last */

static gram_status keep_first(gr_engine *e, const int32_t *const *token, const size_t *n_tokens, size_t n,
                              const int32_t *label, size_t n_labels, float *out, float *log_sum, gram_err *err)
{
    read_first = token[n - 1][0];
    return fake_labels(e, token, n_tokens, n, label, n_labels, out, log_sum, err);
}

static void label_probabilities(void **state)
{
    json_t *out = ask("/generative_scoring", "{\"query\":\"ab\",\"items\":[\"c\",\"de\"],\"label_token_ids\":[1,2]}");
    double z[2] = { (1 + 3) % 7 / 2., (2 + 3) % 7 / 2. };

    (void)state;
    CLOSE(number(out, "data.0.score"), 1 / (1 + exp(z[1] - z[0])));
    json_decref(out);
    out = ask("/v1/score", "{\"query\":[1,2],\"items\":[[3],[4,5]],\"label_token_ids\":[1,2]}");
    CLOSE(number(out, "scores.0.0"), exp(z[0] - 4));
    CLOSE(number(out, "scores.0.1"), exp(z[1] - 4));
    json_decref(out);
    out = ask("/v1/score", "{\"query\":\"ab\",\"items\":\"c\",\"label_token_ids\":[1,2],\"item_first\":true}");
    CLOSE(number(out, "usage.prompt_tokens"), 3);
    CLOSE(number(out, "scores.0.0"), exp(z[0] - 4));
    json_decref(out);
    static const struct { const char *path, *body; double tokens; } bos[] = {
        { "/generative_scoring", "{\"query\":\"ab\",\"items\":[\"c\"],\"label_token_ids\":[1,2]}", 4 },
        { "/generative_scoring", "{\"query\":\"ab\",\"items\":[\"c\"],\"label_token_ids\":[1,2],"
                                 "\"add_special_tokens\":false}", 3 },
        { "/v1/score", "{\"query\":\"ab\",\"items\":[\"c\"],\"label_token_ids\":[1,2]}", 4 },
        { "/v1/score", "{\"query\":[1,2],\"items\":[[3]],\"label_token_ids\":[1,2]}", 3 },
    };
    gr_engine plain = engine;
    engine.label_logits = keep_first;
    for (int item = 0; item < 2; item++) {              /* which stands first, in text and in token ids */
        static const char *const body[] = { "\"query\":\"ab\",\"items\":[\"cd\"]", "\"query\":[97],\"items\":[[99]]" };
        for (size_t i = 0; i < GR_COUNT(body); i++) {
            char more[128];
            snprintf(more, sizeof more, "{%s,\"label_token_ids\":[1,2],\"item_first\":%s}", body[i],
                     item ? "true" : "false");
            json_decref(ask("/v1/score", more));
            assert_int_equal(read_first, item ? 'c' : 'a');
        }
    }
    engine.prompt_ids = with_bos;
    for (size_t i = 0; i < GR_COUNT(bos); i++) {
        out = ask(bos[i].path, bos[i].body);
        CLOSE(number(out, "usage.prompt_tokens"), bos[i].tokens);
        json_decref(out);
    }
    engine = plain;
}

static void reranking(void **state)
{
    json_t *out = ask("/v1/rerank", "{\"query\":\"q\",\"documents\":[\"x\",{\"text\":\"yyyy\"},\"zz\"],\"top_n\":2}");

    (void)state;
    assert_int_equal(json_array_size(json_object_get(out, "results")), 2);
    assert_true(number(out, "results.0.relevance_score") >= number(out, "results.1.relevance_score"));
    assert_non_null(json_object_get(json_array_get(json_object_get(out, "results"), 0), "document"));
    json_decref(out);
    out = ask("/rerank", "{\"query\":\"q\",\"texts\":[\"x\",\"yyyy\"],\"raw_scores\":true,\"return_text\":true}");
    assert_true(number(out, "0.score") > 0 && number(out, "1.score") < 0);
    json_decref(out);
    static const char *const raw[] = { "\"use_activation\":false", "\"activation\":false", "\"softmax\":false",
                                       "\"raw_scores\":true,\"use_activation\":false" };
    for (size_t i = 0; i < GR_COUNT(raw); i++) {                /* in each shape by the name of any */
        char body[128];
        snprintf(body, sizeof body, "{\"query\":\"q\",\"documents\":[\"x\",\"yyyy\"],%s}", raw[i]);
        out = ask("/v1/rerank", body);
        assert_true(number(out, "results.0.relevance_score") > 0 && number(out, "results.1.relevance_score") < 0);
        json_decref(out);
        snprintf(body, sizeof body, "{\"query\":\"q\",\"texts\":[\"x\",\"yyyy\"],%s}", raw[i]);
        out = ask("/rerank", body);
        assert_true(number(out, "0.score") > 0 && number(out, "1.score") < 0);
        json_decref(out);
        snprintf(body, sizeof body, "{\"queries\":\"q\",\"documents\":[\"yyyy\",\"x\"],%s}", raw[i]);
        out = ask("/score", body);
        assert_true(number(out, "data.0.score") * number(out, "data.1.score") < 0);
        json_decref(out);
    }
    out = ask("/v1/rerank", "{\"query\":\"q\",\"documents\":[\"x\",\"yyyy\"],\"instruct\":\"i\"}");
    assert_true(number(out, "0.score") >= number(out, "1.score"));
    json_decref(out);
    out = ask("/v1/rerank", "{\"query\":\"q\",\"documents\":[\"x\",\"yyyy\"],\"instruct\":null}");     /* not there */
    assert_true(number(out, "results.0.relevance_score") >= number(out, "results.1.relevance_score"));
    json_decref(out);
    use_head(1000000);                      /* with so much taken away, each has the probability 0, and one is best */
    for (int back = 0; back < 2; back++) {
        out = ask("/v1/rerank", back ? "{\"query\":\"q\",\"documents\":[\"zz\",\"yyyy\",\"x\"],\"activation\":false}"
                                     : "{\"query\":\"q\",\"documents\":[\"x\",\"yyyy\",\"zz\"],\"activation\":false}");
        assert_true(number(out, "results.0.relevance_score") > number(out, "results.1.relevance_score") &&
                    number(out, "results.1.relevance_score") > number(out, "results.2.relevance_score"));
        json_decref(out);
    }
    use_judge();
    out = ask("/predict", "{\"inputs\":[[\"q\",\"x\"],[\"q\",\"yy\"]]}");
    CLOSE(number(out, "0.0.score"), preference("x", "yy"));
    json_decref(out);
    out = ask("/predict", "{\"inputs\":[\"q\",\"x\"],\"reference\":\"ref\"}");
    CLOSE(number(out, "0.score"), preference("x", "ref"));
    json_decref(out);
    out = ask("/predict", "{\"inputs\":[\"q\",\"x\"],\"reference\":\"x\"}");
    assert_string_equal(string(out, "0.label"), "preferred");           /* as good counts so */
    json_decref(out);
    out = ask("/rerank", "{\"query\":\"q\",\"texts\":[\"x\",\"yyyy\"]}");
    assert_null(at(out, "0.text"));                     /* only where return_text asks for it */
    json_decref(out);
}

static void trainers(void **state)
{
    json_t *out = ask("/v1/score/evaluation", "{\"model\":\"m\",\"reference\":\"ref\",\"messages\":["
                      "\"" CHAT("x") "\"]}");

    (void)state;
    CLOSE(number(out, "scores.0"), preference("x", "ref"));
    json_decref(out);
    out = ask("/compare", "{\"conversation_history\":[{\"role\":\"user\",\"content\":\"q\"}],\"principle\":\"be kind\","
              "\"response_objs\":[\"x\",{\"output\":[{\"type\":\"reasoning\"},{\"type\":\"message\",\"content\":"
              "[{\"type\":\"output_text\",\"text\":\"yy\"}]}]}]}");
    CLOSE(number(out, "rewards.0"), preference("x", "yy"));
    CLOSE(number(out, "comparison_results.0.ranking"), 6 - 5 * preference("x", "yy"));
    json_decref(out);
    out = ask("/compare", "{\"conversation_history\":[{\"role\":\"user\",\"content\":\"q\"}],\"response_objs\":[\"x\","
              "{\"output\":[{\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"yy\"}]},"
              "{\"type\":\"message\",\"content\":\" and more\"}]}]}");
    CLOSE(number(out, "rewards.0"), preference("x", "yy and more"));
    json_decref(out);
    out = ask("/compare", "{\"conversation_history\":[{\"role\":\"user\",\"content\":\"q\"}],"
                          "\"response_objs\":[\"FLIP\",\"yy\"]}");
    CLOSE(number(out, "metrics.flip_rate"), 1);         /* of one comparison, whatever the responses are */
    json_decref(out);
    static const struct { const char *system, *principle; bool seat; } told[] = {
        { "SE", "AT", false }, { "SEAT", "p", true }, { "s", "SEAT", true },
    };
    for (size_t i = 0; i < GR_COUNT(told); i++) {       /* both, with a line between them */
        char body[256];
        snprintf(body, sizeof body, "{\"conversation_history\":[{\"role\":\"system\",\"content\":\"%s\"},"
                 "{\"role\":\"user\",\"content\":\"q\"}],\"principle\":\"%s\",\"response_objs\":[\"x\",\"yy\"]}",
                 told[i].system, told[i].principle);
        out = ask("/compare", body);
        assert_int_equal(fabs(number(out, "rewards.0") - preference("x", "yy")) > 1e-12, told[i].seat);
        json_decref(out);
    }
}

static void chat(void **state)
{
    json_t *out = ask("/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"n\":2,"
                      "\"logprobs\":true,\"top_logprobs\":2,\"stop\":\"A.\"}"), *choice;

    (void)state;
    assert_int_equal(json_array_size(json_object_get(out, "choices")), 2);
    choice = json_array_get(json_object_get(out, "choices"), 1);
    assert_string_equal(json_string_value(json_object_get(json_object_get(choice, "message"), "content")),
                        "The answer is ");
    CLOSE(number(choice, "logprobs.content.1.top_logprobs.1.logprob"), -1.5);
    CLOSE(number(choice, "logprobs.content.0.bytes.0"), 'T');
    json_decref(out);
    out = ask("/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"max_tokens\":3}");
    choice = json_array_get(json_object_get(out, "choices"), 0);
    assert_string_equal(json_string_value(json_object_get(choice, "finish_reason")), "length");
    json_decref(out);
}

static void completions(void **state)
{
    json_t *out = ask("/v1/completions", "{\"prompt\":[\"ab\",\"c\"],\"n\":2,\"stop\":[\"A.\"],\"logprobs\":2}");

    (void)state;
    assert_int_equal(json_array_size(json_object_get(out, "choices")), 4);
    assert_string_equal(string(out, "choices.3.text"), "The answer is ");
    assert_string_equal(string(out, "choices.0.finish_reason"), "stop");
    CLOSE(number(out, "choices.2.index"), 2);
    CLOSE(number(out, "usage.prompt_tokens"), 3);
    CLOSE(number(out, "choices.0.logprobs.token_logprobs.0"), -0.5);
    CLOSE(number(out, "choices.0.logprobs.text_offset.2"), 10);
    assert_string_equal(string(out, "choices.0.logprobs.tokens.1"), " answer");
    CLOSE(number(out, "choices.0.logprobs.top_logprobs.1.x"), -1.5);
    json_decref(out);
    /* A character of two tokens is whole in the text, and is told as its bytes. */
    out = ask("/v1/completions", "{\"prompt\":[97,98],\"echo\":true,\"logprobs\":0}");
    assert_string_equal(string(out, "choices.0.text"), "abThe answer is A. \xe2\x9c\x93");
    assert_string_equal(string(out, "choices.0.logprobs.tokens.7"), "bytes:\\x20\\xe2\\x9c");
    assert_string_equal(string(out, "choices.0.logprobs.tokens.0"), "a");
    assert_true(json_is_null(at(out, "choices.0.logprobs.token_logprobs.0")));
    CLOSE(number(out, "choices.0.logprobs.token_logprobs.1"), -0.5);
    CLOSE(number(out, "choices.0.logprobs.text_offset.2"), 2);
    json_decref(out);
    out = ask("/v1/completions", "{\"prompt\":[[97],[98,99]],\"echo\":true,\"logprobs\":1,\"max_tokens\":0}");
    assert_string_equal(string(out, "choices.1.text"), "bc");
    assert_string_equal(string(out, "choices.1.finish_reason"), "length");
    CLOSE(number(out, "usage.completion_tokens"), 0);
    CLOSE(number(out, "usage.prompt_tokens"), 3);
    json_decref(out);
    out = ask("/v1/completions", "{\"prompt\":\"a\",\"best_of\":3,\"n\":2,\"logprobs\":0,\"max_tokens\":2}");
    assert_int_equal(json_array_size(json_object_get(out, "choices")),
                     2);      /* the fake's first answer is likeliest */
    CLOSE(number(out, "choices.0.logprobs.token_logprobs.1"), -0.5);
    CLOSE(number(out, "choices.1.logprobs.token_logprobs.1"), -1.5);
    CLOSE(number(out, "usage.completion_tokens"), 6);
    json_decref(out);
}

/* Where none is given it is drawn, one of 2^63, and told. */
/* A place in the text counts its characters, of which a token may have a part. */
static void offsets_are_of_characters(void **state)
{
    static const int want[] = { 0, 1, 1, 2 };
    json_t *out = ask("/v1/completions", "{\"prompt\":\"\u00e9b\",\"echo\":true,\"logprobs\":0,\"max_tokens\":1}");

    (void)state;
    for (size_t i = 0; i < GR_COUNT(want); i++) {
        char path[64];
        snprintf(path, sizeof path, "choices.0.logprobs.text_offset.%zu", i);
        CLOSE(number(out, path), want[i]);
    }
    json_decref(out);
}

static void seeds_are_drawn(void **state)
{
    static const char *const body[] = { "{\"prompt\":\"a\"}", "{\"prompt\":\"a\"}", "{\"prompt\":\"a\",\"seed\":-1}",
                                        "{\"prompt\":\"a\",\"seed\":null}", "{\"prompt\":\"a\",\"seed\":7}" };
    enum { N = sizeof body / sizeof *body };
    json_int_t seed[N];

    (void)state;
    for (size_t i = 0; i < N; i++) {
        json_t *out = ask("/v1/completions", body[i]);
        seed[i] = json_integer_value(at(out, "seed"));
        for (size_t k = 0; k < i; k++)
            assert_true(seed[i] != seed[k]);
        json_decref(out);
    }
    assert_true(seed[0] > 0 && seed[N - 1] == 7);
}

/* A text that breaks says so in its place, and the others go on. */
static void broken_texts(void **state)
{
    static const char why[] = "sampling: a logit is not a finite number: the model's weights are broken";
    json_t *out = ask("/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"NAN 1\"}],\"n\":3}");

    (void)state;
    assert_string_equal(string(out, "choices.0.message.content"), "The answer is A. \xe2\x9c\x93");
    assert_null(at(out, "choices.0.error"));
    assert_string_equal(string(out, "choices.1.finish_reason"), "error");
    assert_string_equal(string(out, "choices.1.error.message"), why);
    CLOSE(number(out, "choices.1.error.code"), 500);
    assert_string_equal(string(out, "choices.2.finish_reason"), "stop");
    json_decref(out);
    /* A prompt whose own tokens cannot be told. */
    out = ask("/v1/completions", "{\"prompt\":[[97],[98,200],[99]],\"echo\":true,\"logprobs\":1,\"max_tokens\":1,"
              "\"n\":2}");
    assert_int_equal(json_array_size(json_object_get(out, "choices")), 6);
    for (size_t i = 0; i < 6; i++) {
        char name[32];
        snprintf(name, sizeof name, "choices.%zu.finish_reason", i);
        assert_string_equal(string(out, name), i / 2 == 1 ? "error" : "length");
    }
    CLOSE(number(out, "usage.prompt_tokens"), 4);
    json_decref(out);
}

static void tokens(void **state)
{
    json_t *out = ask("/tokenize", "{\"content\":\"ab\"}");
    gr_engine plain = engine;

    (void)state;
    CLOSE(number(out, "tokens.1"), 'b');
    json_decref(out);
    engine.prompt_ids = with_bos;
    for (int k = 0; k < 3; k++) {           /* llama.cpp's name and vLLM's */
        static const char *const asks[] = { "", ",\"add_special\":true", ",\"add_special_tokens\":true" };
        char body[64];
        snprintf(body, sizeof body, "{\"content\":\"ab\"%s}", asks[k]);
        out = ask("/tokenize", body);
        CLOSE(number(out, "count"), k ? 3 : 2);
        json_decref(out);
    }
    engine = plain;
    out = ask("/detokenize", "{\"tokens\":[104,105]}");
    assert_string_equal(json_string_value(json_object_get(out, "content")), "hi");
    json_decref(out);
    out = ask("/apply-template", "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}");
    assert_string_equal(json_string_value(json_object_get(out, "prompt")), "q");
    json_decref(out);
}

static void rationales(void **state)
{
    json_t *v = ask("/v1/score", "{\"prompt\":\"q\",\"a\":\"a longer "
                                 "answer\",\"b\":\"no\",\"rationale\":true,\"votes\":3,"
                                 "\"seed\":5,\"explain\":true}"), *plain, *out;

    (void)state;
    plain = ask("/v1/score", "{\"prompt\":\"q\",\"a\":\"a longer answer\",\"b\":\"no\"}");
    assert_true(fabs(number(v, "preference") - number(plain, "preference")) < 1e-9);
    assert_true(fabs(number(v, "reward.1") - (1 - number(plain, "preference"))) < 1e-9);
    assert_int_equal(json_array_size(at(v, "orders")), 2);
    assert_int_equal(json_array_size(at(v, "orders.0.rationale")), 2);
    assert_int_equal(json_array_size(at(v, "orders.1.p")), 1);
    assert_string_equal(string(v, "orders.1.rationale.0"), "Because \xe2\x9c\x93 <b>A</b> is better.");
    assert_int_equal(number(v, "votes.0"), 3);
    assert_int_equal(number(v, "seed"), 5);
    assert_int_equal(number(v, "written"), 12);
    assert_int_equal(number(v, "usage.completion_tokens"), 12);
    assert_int_equal(number(v, "usage.prompt_tokens"), 20);
    assert_string_equal(string(v, "read.1"), "reason on no, a longer answer");
    assert_string_equal(string(v, "object"), "score");
    json_decref(v);
    json_decref(plain);
    /* Pairs: one at fault is told of in its place; the first votes of the other agree. */
    v = ask("/v1/score", "{\"rationale\":true,\"early\":2,\"votes\":4,\"pairs\":["
                         "{\"prompt\":\"q\",\"a\":\"TOOLONG\",\"b\":\"y\"},"
                         "{\"prompt\":\"q\",\"a\":\"x\",\"b\":\"a much longer answer than that, so it is\"}]}");
    assert_int_equal(json_array_size(at(v, "data")), 2);
    assert_int_equal(number(v, "data.0.error.code"), 422);
    assert_non_null(strstr(string(v, "data.0.error.message"), "pairs[0]: the pair takes 9999 tokens"));
    assert_int_equal(json_array_size(at(v, "data.1.orders.0.p")), 1);
    assert_true(json_is_true(at(v, "data.1.early")));
    json_decref(v);
    v = ask("/v1/score", "{\"rationale\":true,\"early\":2,\"votes\":4,\"prompt\":\"q\",\"a\":\"x\",\"b\":\"x\"}");
    assert_int_equal(json_array_size(at(v, "orders.1.p")), 2);
    assert_false(json_is_true(at(v, "early")));
    json_decref(v);
    engine.rewards = true;
    assert_int_equal(ask_status("/v1/score", "{\"prompt\":\"q\",\"a\":\"x\",\"b\":\"y\",\"rationale\":true}", &out),
                     501);
    engine.rewards = false;
    json_decref(out);
}

/* An answer is read once, and no other reading contradicts that; what was cut of it is said of it alone. */
static void a_head_reads_once(void **state)
{
    static const char *const body[] = {
        "{\"prompt\":\"p\",\"responses\":[\"x\",\"FLIP CUT\"]}",
        "{\"prompt\":\"p\",\"responses\":[\"x\",\"FLIP CUT\"],\"reference\":\"yyy\"}",
    };
    json_t *out;

    (void)state;
    use_head(0);
    for (size_t i = 0; i < GR_COUNT(body); i++) {
        out = ask("/v1/reward", body[i]);
        for (size_t k = 0; k < 2; k++) {
            json_t *one = json_array_get(json_object_get(out, "data"), k);
            assert_true(json_is_false(json_object_get(one, "flipped")));
            assert_true(json_is_true(json_object_get(one, "truncated")) == (k == 1));
        }
        json_decref(out);
    }
    out = ask("/v1/rank", body[0]);
    CLOSE(number(out, "flip_rate"), 0);
    json_decref(out);
    use_judge();
}

/* Without a length a rationale has the library's, or what the server writes at most where that is less. */
static void a_rationale_has_a_usual_length(void **state)
{
    static const char ask_it[] = "{\"prompt\":\"p\",\"a\":\"x\",\"b\":\"y\",\"rationale\":true}";
    gr_serve_options before = options;
    gram_rationale_options usual;

    (void)state;
    gram_rationale_options_init(&usual);
    json_decref(ask("/v1/score", ask_it));
    assert_int_equal(fake_rationale_most, 16);
    options.max_new_tokens = usual.max_tokens + 1;
    json_decref(ask("/v1/score", ask_it));
    assert_int_equal(fake_rationale_most, usual.max_tokens);
    options = before;
}

/* Asked for, the log-probabilities of an answer that has no token are none, and not missing. */
static void an_empty_answer_has_empty_logprobs(void **state)
{
    static const char *const list[] = { "tokens", "token_logprobs", "top_logprobs", "text_offset" };
    json_t *out;

    (void)state;
    for (int asked = 0; asked < 2; asked++) {
        out = ask("/v1/completions", asked ? "{\"prompt\":[7],\"logprobs\":1}" : "{\"prompt\":[7]}");
        assert_string_equal(string(out, "choices.0.text"), "");
        assert_string_equal(string(out, "choices.0.finish_reason"), "stop");
        for (size_t i = 0; i < GR_COUNT(list) && asked; i++) {
            const json_t *none = json_object_get(at(out, "choices.0.logprobs"), list[i]);
            assert_true(json_is_array(none) && json_array_size(none) == 0);
        }
        assert_true(asked || json_is_null(at(out, "choices.0.logprobs")));
        json_decref(out);
        out = ask("/v1/chat/completions", asked ? "{\"messages\":[{\"role\":\"user\",\"content\":\"MUTE\"}],"
                                                  "\"logprobs\":true}"
                                                : "{\"messages\":[{\"role\":\"user\",\"content\":\"MUTE\"}]}");
        assert_true(asked ? json_is_array(at(out, "choices.0.logprobs.content")) &&
                            json_array_size(at(out, "choices.0.logprobs.content")) == 0
                          : json_is_null(at(out, "choices.0.logprobs")));
        json_decref(out);
    }
}

/* What a rationale is asked with: each must be refused, and by its name. */
static void rationales_that_cannot_be_meant(void **state)
{
    static const struct { const char *more, *word; int status; } wrong[] = {
        { "\"rationale\":1", "rationale", 422 },
        { "\"votes\":2", "votes", 422 },
        { "\"stream\":true", "stream", 422 },
        { "\"rationale\":false,\"rationale_format\":\"rm-r1\"", "rationale_format", 422 },
        { "\"rationale\":true,\"votes\":0", "votes", 422 },
        { "\"rationale\":true,\"votes\":-1", "votes", 422 },
        { "\"rationale\":true,\"votes\":9", "9 rationales", 413 },
        { "\"rationale\":true,\"votes\":1.5", "votes", 422 },
        { "\"rationale\":true,\"rationale_tokens\":0", "rationale_tokens", 422 },
        { "\"rationale\":true,\"rationale_tokens\":17", "1 to 16", 422 },
        { "\"rationale\":true,\"max_tokens\":17", "max_tokens", 422 },
        { "\"rationale\":true,\"rationale_format\":\"/etc/passwd\"", "rationale_format", 422 },
        { "\"rationale\":true,\"rationale_format\":{\"opening\":1}", "opening", 422 },
        { "\"rationale\":true,\"temperature\":-1", "temperature", 422 },
        { "\"rationale\":true,\"repetition_penalty\":1.2", "repetition_penalty", 422 },
        { "\"rationale\":true,\"logit_bias\":{\"1\":2}", "logit_bias", 422 },
        { "\"rationale\":true,\"stop\":\"x\"", "stop", 422 },
        { "\"rationale\":true,\"n\":2", "n is", 422 },
        { "\"rationale\":true,\"early\":3", "early", 422 },
        { "\"rationale\":true,\"sure\":0.2", "sure", 422 },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(wrong); i++) {
        char body[256];
        json_t *out;
        int status;
        snprintf(body, sizeof body, "{\"prompt\":\"q\",\"a\":\"x\",\"b\":\"y\",%s}", wrong[i].more);
        status = ask_status("/v1/score", body, &out);
        if (status != wrong[i].status || !strstr(string(out, "error.message"), wrong[i].word))
            fail_msg("%s: %d %s", body, status, string(out, "error.message"));
        json_decref(out);
    }
    json_t *out;                                        /* a path that writes no reasons says so */
    assert_int_equal(ask_status("/v1/rerank", "{\"query\":\"q\",\"documents\":[\"x\",\"y\"],\"rationale\":true}",
                                &out), 422);
    assert_string_equal(string(out, "error.param"), "rationale");
    json_decref(out);
}

/* By each method: who wins, what is preferred and how often two are compared are as without reasons, which stand in
 * each comparison. */
static void a_ranking_by_reasons(void **state)
{
    static const char *const method[] = { "all-pairs", "tournament", "linear", "reference" };
    static const char *const same[] = { "preference", "results", "comparison_count", "intransitive" };

    (void)state;
    options.max_rows = 64;
    for (size_t i = 0; i < GR_COUNT(method); i++) {
        char body[256], more[320];
        json_t *plain, *out;
        size_t n;
        snprintf(body, sizeof body, "\"prompt\":\"p\",\"responses\":[\"a\",\"four\",\"three of them\",\"two\"],"
                 "\"reference\":\"r\",\"method\":\"%s\"", method[i]);
        snprintf(more, sizeof more, "{%s,\"criteria\":\"kindness\",\"rationale\":true,\"votes\":3,\"seed\":5}", body);
        out = ask("/v1/rank", more);
        snprintf(more, sizeof more, "{%s}", body);
        plain = ask("/v1/rank", more);
        for (size_t k = 0; k < GR_COUNT(same); k++)
            assert_true(json_equal(json_object_get(out, same[k]), json_object_get(plain, same[k])));
        n = json_array_size(json_object_get(out, "comparisons"));
        assert_int_equal(n, json_array_size(json_object_get(plain, "comparisons")));
        for (size_t k = 0; k < n; k++) {
            json_t *c = json_array_get(json_object_get(out, "comparisons"), k);
            json_t *d = json_array_get(json_object_get(plain, "comparisons"), k);
            assert_true(json_equal(json_object_get(c, "i"), json_object_get(d, "i")));
            assert_true(json_equal(json_object_get(c, "j"), json_object_get(d, "j")));
            CLOSE(number(c, "preference"), number(d, "preference"));
            assert_string_equal(string(c, "orders.1.rationale.0"), "Because \xe2\x9c\x93 <b>A</b> is better.");
            assert_int_equal(number(c, "seed"), 5);
        }
        assert_int_equal(number(out, "passes"), 3 * n);
        assert_int_equal(number(out, "usage.completion_tokens"), 12 * n);
        json_decref(plain);
        json_decref(out);
    }
    options.max_rows = 8;
}

static void a_ranking_by_reasons_with_faults(void **state)
{
    json_t *out = ask("/v1/rank", "{\"prompt\":\"p\",\"partial\":true,\"rationale\":true,\"votes\":1,"
                                  "\"responses\":[\"x\",\"\\u0000\",\"yy\","
                                  "\"TOOLONG\"]}");

    (void)state;
    assert_int_equal(json_array_size(at(out, "results")), 2);
    assert_int_equal(json_array_size(at(out, "errors")), 2);
    assert_string_equal(string(out, "errors.1.param"), "responses[3]");
    assert_int_equal(number(out, "comparisons.0.j"), 2);
    assert_non_null(at(out, "comparisons.0.orders"));
    json_decref(out);
    assert_int_equal(ask_status("/v1/rank", "{\"prompt\":\"p\",\"rationale\":true,\"votes\":1,\"responses\":[\"x\","
                                            "\"yy\",\"TOOLONG\"]}",
                                &out), 422);
    assert_non_null(strstr(string(out, "error.message"), "responses[2]: "));
    json_decref(out);
    assert_int_equal(ask_status("/v1/rank", "{\"prompt\":\"p\",\"rationale\":true,\"votes\":2,\"responses\":[\"x\","
                                            "\"yy\",\"z\",\"u\"]}",
                                &out), 413);            /* 12 rationales of 8 */
    json_decref(out);
    engine.rewards = true;
    assert_int_equal(ask_status("/v1/rank", "{\"prompt\":\"p\",\"rationale\":true,\"votes\":1,\"responses\":[\"x\","
                                            "\"yy\"]}", &out), 501);
    engine.rewards = false;
    json_decref(out);
}

static void a_wrong_request_is_never_a_score(void **state)
{
    static const struct { int status; const char *path, *body; } wrong[] = {
        { 404, "/nope", "{}" }, { 405, "/health", "{}" },
        { 400, "/v1/score", "" }, { 400, "/v1/score", "[]" }, { 400, "/v1/score", "{\"a\":1,\"a\":2}" },
        { 400, "/v1/score", "{\"prompt\":NaN}" }, { 400, "/v1/score", "{} x" }, { 400, "/v1/score",
                                                                                 "\"\\u0000\"" }, { 400, "/v1/score",
                                                                                                   "{\"\\u0000\":1}" },
        { 422, "/v1/score", "{}" }, { 422, "/v1/score", "{\"prompt\":\"p\",\"a\":\"x\"}" },
        { 422, "/v1/score", "{\"prompt\":3,\"a\":\"x\",\"b\":\"y\"}" },
        { 422, "/v1/score", "{\"prompt\":[],\"a\":\"x\",\"b\":\"y\"}" },
        { 422, "/v1/score", "{\"prompt\":\"\",\"a\":\"x\",\"b\":\"y\"}" },
        { 422, "/rerank", "{\"query\":\"\",\"documents\":[\"x\",\"y\"]}" },
        { 422, "/classify", "{\"reference\":\"r\",\"messages\":[{\"role\":\"user\",\"content\":\"\"},"
                            "{\"role\":\"assistant\","
          "\"content\":\"x\"}]}" },
        { 422, "/v1/score", "{\"prompt\":[{\"role\":\"function\",\"content\":\"\"}],\"a\":\"x\",\"b\":\"y\"}" },
        { 422, "/v1/score", "{\"prompt\":[{\"role\":\"assistant\",\"content\":\"\"}],\"a\":\"x\",\"b\":\"y\"}" },
        { 422, "/v1/score", "{\"prompt\":\"p\",\"a\":{\"role\":\"user\",\"content\":\"x\"},\"b\":\"y\"}" },
        { 422, "/v1/score", "{\"prompt\":\"p\",\"a\":[{\"type\":\"image_url\"}],\"b\":\"y\"}" },
        { 422, "/v1/score", "{\"prompt\":\"p\",\"a\":[{\"type\":\"reasoning_text\",\"text\":\"so\"},{\"type\":\"text\","
                            "\"text\":\"x\"}],\"b\":\"y\"}" },
        { 422, "/compare", "{\"conversation_history\":[{\"role\":\"user\",\"content\":\"q\"}],\"response_objs\":[\"x\","
                           "{\"output\":[{\"type\":\"message\",\"content\":[{\"type\":\"thinking\","
                           "\"text\":\"y\"}]}]}]}" },
        { 422, "/v1/score", "{\"prompt\":\"p\",\"a\":\"x\",\"b\":\"y\",\"explain\":1}" },
        { 422, "/v1/score", "{\"pairs\":[]}" }, { 422, "/v1/score", "{\"pairs\":[1]}" },
        { 413, "/v1/score", "{\"pairs\":[1,2,3,4,5,6,7,8,9]}" },
        { 422, "/v1/score", "{\"prompt\":\"p\",\"a\":\"TOOLONG\",\"b\":\"y\"}" },
        { 500, "/v1/score", "{\"prompt\":\"p\",\"a\":\"BOOM\",\"b\":\"y\"}" },
        { 422, "/score", "{\"queries\":[\"a\",\"b\"],\"documents\":[\"x\",\"y\",\"z\"]}" },
        { 422, "/score", "{\"queries\":\"q\",\"documents\":[\"x\"]}" },
        { 422, "/score", "{\"queries\":\"q\",\"documents\":[1,2]}" },
        { 422, "/v1/reward", "{\"prompt\":\"p\",\"responses\":[\"x\"]}" },
        { 422, "/v1/reward", "{\"prompt\":\"p\",\"responses\":[\"x\",\"y\"],\"reference\":[\"z\"]}" },
        { 413, "/v1/reward", "{\"prompt\":\"p\",\"responses\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\"]}" },
        { 422, "/v1/rank", "{\"prompt\":\"p\",\"responses\":[\"x\",\"y\"],\"method\":\"best\"}" },
        { 422, "/v1/rank", "{\"prompt\":\"p\",\"responses\":[\"x\",\"y\"],\"method\":\"reference\"}" },
        { 422, "/v1/rank", "{\"prompt\":\"p\",\"responses\":[\"x\"]}" },
        { 422, "/v1/rank", "{\"prompt\":\"p\",\"responses\":[\"x\",\"TOOLONG\"]}" },
        { 422, "/get_reward", "{\"query\":\"q\"}" }, { 422, "/get_reward", "{\"query\":[\"q\"]}" },
        { 422, "/get_reward", "{\"query\":[\"q a\"],\"prompts\":[\"x\"]}" },
        { 422, "/get_reward", "{\"query\":[\"q a\"],\"prompts\":[\"q\"],\"labels\":[null]}" },
        { 422, "/classify", "{\"input\":\"no template\",\"reference\":\"r\"}" },
        { 422, "/classify", "{\"input\":\"<|im_start|>tool\\nq<|im_end|>\",\"reference\":\"r\"}" },
        { 422, "/pooling", "{\"input\":[1,300],\"reference\":\"r\"}" },
        { 422, "/pooling", "{\"input\":\"x\",\"encoding_format\":\"hex\"}" },
        { 422, "/classify", "{\"input\":\"\\n\\nHuman: q\\n\\nAssistant: x\",\"reference\":\"r\"}" },
        { 422, "/get_reward", "{\"query\":[\"q a\",\"q b\"],\"prompts\":[\"q\",\"q\"],\"labels\":[\"r\",null]}" },
        { 422, "/get_reward", "{\"query\":[\"q a\",\"q b\"],\"prompts\":[\"q\",\"q\"],\"labels\":[\"r\",\"\"]}" },
        { 422, "/detokenize", "{\"tokens\":[4294967394]}" }, { 422, "/detokenize", "{\"tokens\":[104,0]}" },
        { 422, "/generative_scoring", "{\"query\":\"q\",\"items\":[\"x\"],\"label_token_ids\":[4294967297]}" },
        { 422, "/rerank", "{\"query\":\"q\",\"documents\":[]}" }, { 422, "/rerank", "{\"query\":\"q\"}" },
        { 422, "/rerank", "{\"query\":\"q\",\"documents\":[\"x\",\"y\"],\"top_n\":-1}" },
        { 422, "/rerank", "{\"query\":\"q\",\"documents\":[\"x\",\"y\"],\"raw_scores\":1}" },
        { 422, "/rerank", "{\"query\":\"q\",\"texts\":[\"x\",\"y\"],\"raw_scores\":true,\"softmax\":true}" },
        { 422, "/predict", "{\"inputs\":[\"a\",\"b\",\"c\"]}" }, { 422, "/predict", "{}" },
        { 422, "/generative_scoring", "{\"query\":\"q\",\"items\":[\"x\"],\"label_token_ids\":[]}" },
        { 422, "/generative_scoring", "{\"query\":\"q\",\"items\":[[1]],\"label_token_ids\":[1]}" },
        { 422, "/generative_scoring", "{\"query\":\"q\",\"items\":[\"x\"],\"label_token_ids\":[1],"
                                      "\"add_special_tokens\":1}" },
        { 422, "/generative_scoring", "{\"query\":\"q\",\"items\":[\"x\"],\"label_token_ids\":[-1]}" },
        { 422, "/compare", "{\"conversation_history\":[{\"role\":\"user\",\"content\":\"q\"}],"
                           "\"response_objs\":[\"x\"]}" },
        { 422, "/compare", "{\"conversation_history\":[{\"role\":\"user\",\"content\":\"q\"}],"
                           "\"response_objs\":[\"x\",\"yy\"],\"reference\":\"r\"}" },
        { 422, "/compare", "{\"conversation_history\":[{\"role\":\"user\",\"content\":\"q\"}],\"response_objs\":[\"x\","
                           "{\"output\":[{\"type\":\"message\",\"content\":\"y\"},{\"type\":\"function_call\"}]}]}" },
        { 503, "/compare", "{\"conversation_history\":[{\"role\":\"user\",\"content\":\"q\"}],"
                           "\"response_objs\":[\"x\",\"BOOM\"]}" },
        { 422, "/v1/chat/completions", "{\"messages\":[]}" },
        { 422, "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"n\":0}" },
        { 422, "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"top_p\":0}" },
        { 422, "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"stop\":[\"\"]}" },
        { 422, "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"top_logprobs\":2}" },
        { 422, "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"TOOLONG\"}]}" },
        { 503, "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"BUSY\"}]}" },
        { 500, "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"NAN 0\"}]}" },
        { 500, "/v1/completions", "{\"prompt\":[[200],[97,200]],\"echo\":true,\"logprobs\":0}" },
        { 422, "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"stop\":\"a\\u0000\"}" },
        { 422, "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"max_tokens\":0}" },
        { 422, "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"n\":129}" },
        { 422, "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"top_k\":-2}" },
        { 422, "/v1/completions", "{}" },
        { 422, "/v1/completions", "{\"prompt\":\"\"}" },
        { 422, "/v1/completions", "{\"prompt\":[]}" },
        { 422, "/v1/completions", "{\"prompt\":[1,\"a\"]}" },
        { 422, "/v1/completions", "{\"prompt\":[\"a\",1]}" },
        { 422, "/v1/completions", "{\"prompt\":{}}" },
        { 422, "/v1/completions", "{\"prompt\":\"a\\u0000\"}" },
        { 422, "/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":0}" },
        { 422, "/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":17}" },
        { 422, "/v1/completions", "{\"prompt\":\"a\",\"suffix\":\"b\"}" },
        { 422, "/v1/completions", "{\"prompt\":\"a\",\"logprobs\":true}" },
        { 422, "/v1/completions", "{\"prompt\":\"a\",\"logprobs\":21}" },
        { 422, "/v1/completions", "{\"prompt\":\"a\",\"n\":3,\"best_of\":2}" },
        { 422, "/v1/completions", "{\"prompt\":\"a\",\"best_of\":2,\"stream\":true}" },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(wrong); i++) {
        json_t *out, *error;
        int status = ask_status(wrong[i].path, wrong[i].body, &out);
        if (status != wrong[i].status)
            fail_msg("%s %s: %d, wanted %d: %s", wrong[i].path, wrong[i].body, status, wrong[i].status,
                     json_dumps(out, 0));
        error = json_object_get(out, "error");
        assert_int_equal(json_integer_value(json_object_get(error, "code")), status);
        assert_true(json_string_length(json_object_get(error, "message")) > 0);
        assert_true(json_string_length(json_object_get(error, "type")) > 0);
        assert_int_equal(json_object_size(out), 2);     /* the error and the id, nothing like a score */
        json_decref(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pair_in_every_spelling),
        cmocka_unit_test(many_pairs_come_back_in_order_and_explained),
        cmocka_unit_test(no_place_has_the_first_seat), cmocka_unit_test(ranking_agrees_with_the_library),
        cmocka_unit_test(rewards_against_a_reference_or_a_group),
        cmocka_unit_test(a_lone_response_of_a_model_with_a_head),
        cmocka_unit_test(a_group_of_a_model_with_a_head),
        cmocka_unit_test(openrlhf),
        cmocka_unit_test(vllm),
        cmocka_unit_test(label_probabilities),
        cmocka_unit_test(reranking),
        cmocka_unit_test(a_head_reads_once),
        cmocka_unit_test(a_rationale_has_a_usual_length),
        cmocka_unit_test(an_empty_answer_has_empty_logprobs),
        cmocka_unit_test(trainers),
        cmocka_unit_test(chat),
        cmocka_unit_test(completions), cmocka_unit_test(offsets_are_of_characters),
        cmocka_unit_test(seeds_are_drawn),
        cmocka_unit_test(broken_texts),
        cmocka_unit_test(tokens),
        cmocka_unit_test(rationales),
        cmocka_unit_test(rationales_that_cannot_be_meant),
        cmocka_unit_test(a_ranking_by_reasons),
        cmocka_unit_test(a_ranking_by_reasons_with_faults),
        cmocka_unit_test(a_wrong_request_is_never_a_score),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
