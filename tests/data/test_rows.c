/* test_rows.c - every form of row, every way to be bad, and a file's end. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include "check.h"
#include "data/rows.h"

static gr_row *row;
static size_t n;

static gram_status parse(const char *json)
{
    return gr_rows_parse("f", 7, json, strlen(json), &row, &n, &check_err);
}

static void done(void)
{
    for (size_t i = 0; i < n; i++)
        gr_row_clear(&row[i]);
    free(row);
    row = NULL;
    n = 0;
}

/* All that each pair has a copy of counts towards what a line may expand to. */
static void a_line_expands_to_so_much(void **state)
{
    static const char *const key[] = { "prompt", "criteria" };

    (void)state;
    for (size_t k = 0; k < GR_COUNT(key); k++) {
        gr_buf b = { 0 };
        assert_true(gr_buf_printf(&b, "{%s\"%s\":\"", k ? "\"prompt\":\"q\"," : "", key[k]));
        for (size_t i = 0; i < 256; i++)
            assert_true(gr_buf_printf(&b, "%1024s", "x"));
        assert_true(gr_buf_puts(&b, "\",\"responses\":[\"0\""));
        for (int i = 1; i < 64; i++)
            assert_true(gr_buf_printf(&b, ",\"%d\"", i));
        assert_true(gr_buf_puts(&b, "],\"scores\":[0"));
        for (int i = 1; i < 64; i++)
            assert_true(gr_buf_printf(&b, ",%d", i));
        assert_true(gr_buf_puts(&b, "]}"));
        if (parse(b.p) != GRAM_EFORMAT || !strstr(check_err.text, "take more than 256 MiB of memory"))
            fail_msg("%s: %zu rows", key[k], n);
        done();
        gr_buf_clear(&b);
    }
}

/* One row with these turns ("u:..|a:..|s:.."), answers and id. */
static void one(const char *json, const char *turns, const char *chosen, const char *rejected, const char *id)
{
    char got[1000] = "";

    CHECK_OK(parse(json));
    assert_int_equal(n, 1);
    for (size_t i = 0; i < row->n_turns; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%c:%s", i ? "|" : "", row->turn[i].role[0],
                 row->turn[i].content);
    assert_string_equal(got, turns);
    assert_string_equal(row->chosen, chosen);
    assert_string_equal(row->rejected, rejected);
    assert_string_equal(row->id, id);
    assert_true(row->tie || row->soft == 1);
    done();
}

static void forms_of_chosen_and_rejected(void **state)
{
    (void)state;
    one("{\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":\"y\"}", "u:q", "x", "y", "f:7");
    one("{\"id\":12,\"question\":\"q\",\"chosen\":\"x\",\"rejected\":\"\",\"system\":\"be\"}", "s:be|u:q", "x", "",
        "12");
    one("{\"id\":\"k\",\"instruction\":\"q\",\"input\":\"i\",\"chosen\":\"x\",\"rejected\":\"y\"}", "u:q\n\ni", "x",
        "y",
        "k");
    one("{\"prompt\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\","
        "\"text\":\"q\"},{\"type\":\"text\",\"text\":\"2\"}]}],\"chosen\":[{\"role\":\"assistant\",\"content\":\"x\"}],"
        "\"rejected\":[{\"role\":\"assistant\",\"content\":\"y\"}]}", "s:s|u:q2", "x", "y", "f:7");
    /* the prompt is in the lists too, with a system turn that the string lacks */
    one("{\"prompt\":\"q\",\"chosen\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"q\"},"
        "{\"role\":\"assistant\",\"content\":\"x\"}],\"rejected\":[{\"role\":\"user\",\"content\":\"q\"},"
        "{\"role\":\"assistant\",\"content\":\"y\"}]}", "s:s|u:q", "x", "y", "f:7");
    /* answers of one message, as LLaMA-Factory's sets have them */
    one("{\"conversations\":[{\"from\":\"human\",\"value\":\"q\"},{\"from\":\"gpt\",\"value\":\"a\"},"
        "{\"from\":\"human\",\"value\":\"r\"}],\"chosen\":{\"from\":\"gpt\",\"value\":\"x\"},"
        "\"rejected\":{\"from\":\"gpt\",\"value\":\"y\"},\"system\":\"be\"}", "s:be|u:q|a:a|u:r", "x", "y", "f:7");
    one("{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"chosen\":{\"role\":\"assistant\",\"content\":"
        "[{\"type\":\"text\",\"text\":\"x\"}]},\"rejected\":{\"role\":\"assistant\",\"content\":\"y\"}}", "u:q", "x",
        "y",
        "f:7");
    one("{\"prompt\":\"q\",\"chosen\":{\"from\":\"gpt\",\"value\":\"x\"},\"rejected\":\"y\"}", "u:q", "x", "y", "f:7");
    /* implicit */
    one("{\"chosen\":[{\"from\":\"human\",\"value\":\"q\"},{\"from\":\"gpt\",\"value\":\"x\"}],"
        "\"rejected\":[{\"from\":\"human\",\"value\":\"q\"},{\"from\":\"gpt\",\"value\":\"y\"}]}", "u:q", "x", "y",
        "f:7");
    /* "messages" that repeat the chosen side are not the prompt */
    one("{\"chosen\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"x\"}],"
        "\"rejected\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"y\"}],"
        "\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"x\"}]}", "u:q", "x",
        "y", "f:7");
    one("{\"chosen\":\"\\n\\nHuman: q \\n\\nAssistant: a\\n\\nHuman: r\\n\\nAssistant: x\","
        "\"rejected\":\"\\n\\nHuman: q\\n\\nAssistant: a\\n\\nHuman: r\\n\\nAssistant: y\\n\"}", "u:q|a:a|u:r", "x",
        "y",
        "f:7");
}

static void earlier_turns(void **state)
{
#define ROW_OF(rest) "{" rest ",\"chosen\":\"x\",\"rejected\":\"y\"}"
    (void)state;
    /* LLaMA-Factory's Alpaca rows */
    one(ROW_OF("\"instruction\":\"q\",\"input\":\"i\",\"system\":\"be\",\"history\":[[\"a\",\"b\"],[\"c\",\"d\"]]"),
        "s:be|u:a|a:b|u:c|a:d|u:q\n\ni", "x", "y", "f:7");
    one(ROW_OF("\"prompt\":\"q\",\"history\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\","
               "\"content\":\"b\"}]"), "u:a|a:b|u:q", "x", "y", "f:7");
    one(ROW_OF("\"instruction\":\"q\",\"input\":null,\"history\":[],\"system\":null"), "u:q", "x", "y", "f:7");
    one(ROW_OF("\"instruction\":\"q\",\"input\":\"\",\"history\":null,\"system\":\"\""), "u:q", "x", "y", "f:7");
    one(ROW_OF("\"prompt\":null,\"question\":\"q\",\"instruction\":null"), "u:q", "x", "y", "f:7");
    /* a transcript that ends where the answer is to begin, as TRL writes HH's prompts */
    one(ROW_OF("\"prompt\":\"\\n\\nHuman: a\\n\\nAssistant: b\\n\\nHuman: q\\n\\nAssistant:\""), "u:a|a:b|u:q", "x",
        "y",
        "f:7");
    one(ROW_OF("\"prompt\":\"\\n\\nHuman: a\\n\\nb\\n\\n\\n\""), "u:a\n\nb", "x", "y", "f:7");
#undef ROW_OF
}

/* Each mark is looked for from where the last one stood: 32 MB of them take a moment, not minutes. */
static void a_transcript_of_many_turns(void **state)
{
    static const char mark[] = "\\n\\nHuman:";
#ifdef __SANITIZE_ADDRESS__
    size_t turns = 1 << 12;                 /* its strstr() walks the whole text at each call */
#else
    size_t turns = 1 << 21;
#endif
    gr_buf b = { 0 };

    (void)state;
    assert_true(gr_buf_puts(&b, "{\"prompt\":\"") && gr_buf_puts(&b, mark) && gr_buf_puts(&b, "\\n\\nAssistant: a"));
    for (size_t i = 0; i < turns; i++)
        assert_true(gr_buf_add(&b, mark, sizeof mark - 1));
    assert_true(gr_buf_puts(&b, "q\",\"chosen\":\"x\",\"rejected\":\"y\"}"));
    CHECK_OK(parse(b.p));
    assert_int_equal(row->n_turns, turns + 2);
    done();
    gr_buf_clear(&b);
}

static void forms_of_two_responses(void **state)
{
    (void)state;
    one("{\"context\":[{\"role\":\"user\",\"content\":\"q\"}],\"response1\":\"x\",\"response2\":\"y\","
        "\"overall_preference\":-2}", "u:q", "x", "y", "f:7");
    one("{\"prompt\":\"q\",\"response_1\":\"x\",\"response_2\":\"y\",\"preference_strength\":3}", "u:q", "y", "x",
        "f:7");
    one("{\"prompt\":\"q\",\"response_0\":\"x\",\"response_1\":\"y\",\"better_response_id\":1}", "u:q", "y", "x",
        "f:7");
    one("{\"pair_id\":\"j\",\"question\":\"q\",\"response_A\":\"x\",\"response_B\":\"y\",\"label\":\"B>A\"}", "u:q",
        "y",
        "x", "j");
    /* numbers and words name the two as their keys do */
    one("{\"prompt\":\"q\",\"response_0\":\"x\",\"response_1\":\"y\",\"winner\":\"response_1\"}",
        "u:q", "y", "x", "f:7");
    one("{\"prompt\":\"q\",\"response_0\":\"x\",\"response_1\":\"y\",\"label\":1}", "u:q", "y", "x", "f:7");
    one("{\"prompt\":\"q\",\"response_1\":\"x\",\"response_2\":\"y\",\"winner\":\"response_1\"}",
        "u:q", "x", "y", "f:7");
    one("{\"prompt\":\"q\",\"response1\":\"x\",\"response2\":\"y\",\"winner\":\"response2\"}", "u:q", "y", "x", "f:7");
    one("{\"input\":\"q\",\"output_1\":\"x\",\"output_2\":\"y\",\"label\":1}", "u:q", "x", "y", "f:7");
    CHECK_OK(parse("{\"prompt\":\"q\",\"response1\":\"x\",\"response2\":\"y\",\"overall_preference\":0}"));
    assert_true(row->tie && row->soft == 0.5 && row->margin == 0);
    done();
}

/* What messages hold besides text goes with them, and makes answers differ. */
static void tools_and_thoughts(void **state)
{
    static const char call[] = "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c\",\"function\":"
                               "{\"name\":\"f\",\"arguments\":{\"x\":1.0}}}]}";
    gr_buf b = { 0 };

    (void)state;
    assert_true(gr_buf_printf(&b, "{\"prompt\":[{\"role\":\"user\",\"content\":\"q\",\"name\":null},%s,"
                              "{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"7\"}],"
                              "\"tools\":[{\"type\":\"function\"}],\"chosen\":[%s],\"rejected\":"
                              "{\"role\":\"assistant\",\"content\":\"\",\"reasoning_content\":\"hm\"}}", call, call));
    CHECK_OK(parse(b.p));
    assert_int_equal(row->n_turns, 3);
    assert_null(row->turn[0].extra);
    assert_string_equal(row->turn[1].content, "");
    assert_string_equal(row->turn[1].extra, "{\"tool_calls\":[{\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":"
                        "{\"x\":1.0}}}],\"content\":null}");
    assert_string_equal(row->turn[2].role, "tool");
    assert_string_equal(row->turn[2].extra, "{\"tool_call_id\":\"c\"}");
    assert_string_equal(row->tools, "[{\"type\":\"function\"}]");
    assert_string_equal(row->chosen, "");
    assert_string_equal(row->chosen_extra, row->turn[1].extra);
    assert_string_equal(row->rejected_extra, "{\"reasoning_content\":\"hm\"}");
    assert_false(gr_row_same(row));
    assert_string_equal(gr_row_pair(row).extra_b, row->rejected_extra);
    done();
    gr_buf_clear(&b);
    CHECK_OK(parse("{\"prompt\":\"q\",\"tools\":\"[]\",\"chosen\":\"x\",\"rejected\":\"x\"}"));
    assert_null(row->tools);
    assert_true(gr_row_same(row));
    done();
}

static void labels(void **state)
{
    (void)state;
    CHECK_OK(parse("{\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":\"y\",\"score_chosen\":4.5,\"score_rejected\":3,"
                   "\"weight\":0.25,\"soft_label\":0.75,\"source\":\"s\",\"domain\":\"math\"}"));
    assert_true(row->margin == 1.5 && row->weight == 0.25 && row->soft == 0.75 && !row->tie);
    assert_string_equal(row->source, "s");
    assert_string_equal(row->subset, "math");
    done();
    CHECK_OK(parse("{\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":\"y\",\"tie\":null,\"subset\":7}"));
    assert_true(isnan(row->margin) && row->weight == 1 && !row->tie && !row->source);
    assert_string_equal(row->subset, "7");
    done();
    CHECK_OK(parse("{\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":\"y\",\"tie\":true,\"subset\":[]}"));
    assert_true(row->tie && row->soft == 0.5 && !row->subset);
    done();
}

static void completions_expand_to_pairs(void **state)
{
    static const char *const want[] = { "k#1-0", "k#0-2", "k#1-2" };
    (void)state;

    CHECK_OK(parse("{\"id\":\"k\",\"instruction\":\"q\",\"completions\":[{\"response\":\"a\",\"overall_score\":3},"
                   "{\"response\":\"b\",\"overall_score\":5},{\"response\":\"c\",\"overall_score\":1}]}"));
    assert_int_equal(n, 3);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(row[i].id, want[i]);
    assert_string_equal(row[0].chosen, "b");
    assert_true(row[0].margin == 2 && row[2].margin == 4);
    done();
    CHECK_OK(parse("{\"prompt\":\"q\",\"responses\":[\"a\",\"b\",\"c\",\"a\"],\"ranks\":[2,1,2,3]}"));
    assert_int_equal(n, 5);                     /* a and a: nothing to choose */
    assert_true(row[1].tie && row[1].soft == 0.5);
    done();
    CHECK_OK(parse("{\"prompt\":\"q\",\"completions\":[\"a\",\"b\",\"c\"],\"best\":2}"));
    assert_int_equal(n, 2);
    assert_string_equal(row[0].chosen, "c");
    done();
    CHECK_OK(parse("{\"id\":\"r\",\"prompt\":\"q\",\"chosen\":[\"a\",\"b\"],\"rejected\":[\"c\",\"d\"]}"));
    assert_int_equal(n, 4);
    assert_string_equal(row[2].id, "r#1-0");
    done();
}

#define ROW_WITH(rest) "{" rest ",\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":\"y\"}"

static void bad_rows_say_why(void **state)
{
    static const struct { const char *json, *says; } bad[] = {
        { "[1]", "a row must be a JSON object, found a list" },
        { "{", "not JSON" },
        { "{\"a\":1,\"a\":2}", "duplicate object key" },
        { ROW_WITH("\"id\":\"\\ud800\""), "the id holds a lone surrogate" },
        { ROW_WITH("\"source\":\"a\\u0000b\""), "the source holds a NUL character" },
        { "{\"prompt\":\"\xff\"}", "unable to decode byte 0xff" },
        { "{\"text\":\"x\",\"label\":1}", "found \"text\", \"label\"" },
        { "{\"prompt\":\"q\",\"chosen\":\"x\"}",
        "key \"rejected\" must be a string, a message or a list of messages, found nothing" },
        { "{\"conversations\":[{\"from\":\"human\",\"value\":\"q\"}],\"chosen\":{\"from\":\"human\",\"value\":\"x\"},"
          "\"rejected\":\"y\"}", "key \"chosen\": an answer must be the assistant's, found a message of the user" },
        { "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"x\"}],"
          "\"chosen\":\"x\",\"rejected\":\"y\"}", "the prompt must end with a turn of the user or of a tool, found ass"
          "istant" },
        { "{\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":3}", "key \"rejected\" must be a string" },
        { "{\"prompt\":7,\"chosen\":\"x\",\"rejected\":\"y\"}", "key \"prompt\" must be a string" },
        { "{\"prompt\":\"\",\"chosen\":\"x\",\"rejected\":\"y\"}", "the prompt's last turn is empty" },
        { "{\"chosen\":\"x\",\"rejected\":\"y\"}", "no prompt" },
        { "{\"prompt\":[],\"chosen\":\"x\",\"rejected\":\"y\"}", "key \"prompt\" is an empty list: wanted a text" },
        { "{\"prompt\":[{\"role\":\"assistant\",\"content\":\"q\"}],\"chosen\":\"x\",\"rejected\":\"y\"}",
          "must end with a turn of the user or of a tool, found assistant" },
        { "{\"prompt\":[{\"role\":\"cook\",\"content\":\"q\"}],\"chosen\":\"x\",\"rejected\":\"y\"}", "role \"cook\"" },
        { "{\"prompt\":[{\"role\":\"user\",\"content\":null}],\"chosen\":\"x\",\"rejected\":\"y\"}", "found null" },
        { "{\"prompt\":\"q\",\"tools\":\"f(x)\",\"chosen\":\"x\",\"rejected\":\"y\"}", "key \"tools\" must be a list" },
        { "{\"prompt\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}],\"chosen\":\"x\",\"rejected\":\"y\"}",
          "message 1: part 1 of its content is not text" },
        { "{\"prompt\":\"p\",\"chosen\":[{\"role\":\"user\",\"content\":\"q\"},"
          "{\"role\":\"assistant\",\"content\":\"x\"}],"
          "\"rejected\":\"y\"}", "turn 1 is not the prompt's" },
        { "{\"chosen\":\"\\n\\nHuman: q\\n\\nAssistant: a\",\"rejected\":\"\\n\\nHuman: r\\n\\nAssistant: b\"}",
          "key \"rejected\": turn 1 is not the prompt's" },
        { "{\"prompt\":\"q\",\"response1\":\"x\",\"response2\":\"y\"}", "which response is better is not said" },
        { "{\"prompt\":\"q\",\"completions\":[\"x\",\"y\"]}", "neither a rank nor a score" },
        { "{\"prompt\":\"q\",\"completions\":[\"x\",\"y\"],\"ranks\":[1]}", "as many numbers" },
        { "{\"prompt\":\"q\",\"completions\":[\"x\",\"x\"],\"ranks\":[1,2]}", "no two of its responses differ" },
        { "{\"prompt\":\"q\",\"completions\":[\"x\",\"y\"],\"ranks\":1}", "as many numbers as \"completions\" has resp"
          "onses, "
          "found a number" },
        { "{\"prompt\":\"q\",\"completions\":[\"x\",\"y\"],\"best\":\"x\"}",
          "key \"best\" must be the index of one of 2" },
        { "{\"prompt\":\"q\",\"completions\":[\"x\"],\"best\":0}", "must be a list of 2 to 64 responses, found 1" },
        { "{\"prompt\":\"q\",\"completions\":7}", "must be a list of 2 to 64 responses, found a number" },
        { "{\"prompt\":\"q\",\"response_0\":\"x\",\"response_1\":\"y\",\"winner\":\"response_2\"}", "must be 0, 1, " },
        { "{\"prompt\":\"q\",\"system\":[\"s\"],\"chosen\":\"x\",\"rejected\":\"y\"}",
          "key \"system\" must be a string" },
        { "{\"instruction\":\"q\",\"input\":[\"i\"],\"chosen\":\"x\",\"rejected\":\"y\"}", "key \"input\" beside" },
        { "{\"instruction\":[],\"input\":\"i\",\"chosen\":\"x\",\"rejected\":\"y\"}", "key \"instruction\" beside" },
        { "{\"prompt\":\"q\",\"history\":\"a\",\"chosen\":\"x\",\"rejected\":\"y\"}",
          "key \"history\" must be a list" },
        { "{\"prompt\":\"q\",\"history\":[[\"a\"]],\"chosen\":\"x\",\"rejected\":\"y\"}",
          "part 1 must be a list of a question" },
        { "{\"prompt\":\"q\",\"history\":[[\"a\",null]],\"chosen\":\"x\",\"rejected\":\"y\"}",
          "part 1 must be a list of a " },
        { "{\"prompt\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"q\"}],"
          "\"history\":[[\"a\",\"b\"]],\"chosen\":\"x\",\"rejected\":\"y\"}", "both a \"history\" and a prompt of 2 tu"
          "rns" },
        { "{\"history\":[[\"a\",\"b\"]],\"chosen\":\"x\",\"rejected\":\"y\"}", "no question behind it" },
        { "{\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":\"y\",\"tie\":1}", "key \"tie\" must be true or false" },
        { "{\"question\":\"q\",\"instruction\":\"i\",\"chosen\":\"x\",\"rejected\":\"y\"}",
        "say which is the \"prompt\"" },
    };
    (void)state;

    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        gram_status rc = parse(bad[i].json);
        if (rc != GRAM_EFORMAT || strncmp(check_err.text, "f:7: ", 5) || !strstr(check_err.text, bad[i].says))
            fail_msg("%s\n gave status %d: %s", bad[i].json, rc, rc ? check_err.text : "");
        assert_null(row);
    }
}

/* A value outside of its code says that other rows may mean the opposite: no --skip-bad passes over it. */
static void codes_that_condemn_the_file(void **state)
{
#define TWO(a, b, rest) "{\"prompt\":\"q\",\"" a "\":\"x\",\"" b "\":\"y\"," rest "}"
    static const struct { const char *json, *says; } bad[] = {
        { TWO("response1", "response2", "\"overall_preference\":9"), "between -3 and 3" },
        { TWO("response_0", "response_1", "\"label\":2"), "0 and 1 are read of it" },
        { TWO("response1", "response2", "\"label\":0"), "1 and 2 are read of it, 1 where the first is better" },
        { TWO("response1", "response2", "\"winner\":\"0\""), "`columns better_response_id=winner`" },
        { TWO("response1", "response2", "\"preference\":-1"), "1 and 2 are read of it" },
        { TWO("response1", "response2", "\"preference\":0.25"), "1 and 2 are read of it" },
        { TWO("response_0", "response_1", "\"better_response_id\":2"), "must be 0 or 1" },
        { TWO("human_ref_A", "human_ref_B", "\"labels\":2"), "must be 0 or 1" },
        { "{\"prompt\":\"q\",\"completions\":[\"x\",\"y\"],\"best\":2}", "the index of one of 2 responses, from 0, fou"
          "nd 2" },
        { ROW_WITH("\"soft\":80"), "between 0 and 1, found 80" },
    };
    (void)state;

    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        gram_status rc = parse(bad[i].json);
        if (rc != GRAM_EIO || strncmp(check_err.text, "f:7: ", 5) || !strstr(check_err.text, bad[i].says))
            fail_msg("%s\n gave status %d: %s", bad[i].json, rc, rc ? check_err.text : "");
        assert_null(row);
    }
    /* what no code has is one bad row */
    assert_int_equal(parse(TWO("response1", "response2", "\"label\":7")), GRAM_EFORMAT);
    assert_int_equal(parse(TWO("response1", "response2", "\"label\":\"maybe\"")), GRAM_EFORMAT);
    assert_int_equal(parse(ROW_WITH("\"soft\":-1")), GRAM_EFORMAT);
#undef TWO
}

static void groups(void **state)
{
    static const char good[] = "{\"prompt\":\"q\",\"responses\":[\"a\",{\"text\":\"b\"},\"\"],\"reference\":\"r\"}";
    static const char lone[] = "{\"prompt\":\"q\",\"responses\":[\"a\"]}";
    gr_group g;
    (void)state;

    CHECK_OK(gr_group_parse("f", 1, good, sizeof good - 1, &g, &check_err));
    assert_int_equal(g.n, 3);
    assert_string_equal(g.response[1], "b");
    assert_string_equal(g.reference, "r");
    assert_string_equal(g.turn[0].content, "q");
    gr_group_clear(&g);
    assert_int_equal(gr_group_parse("f", 1, lone, sizeof lone - 1, &g, &check_err), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "two or more responses"));
}

static const char *write_file(const char *text)
{
    static char path[300];
    FILE *f;

    snprintf(path, sizeof path, "%s/rows.jsonl", check_tmpdir());
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

/* Adds the ids of a share's rows to got, '!' for a bad one. shares 0: of all. */
static void add_ids(char got[300], const char *path, size_t share, size_t shares)
{
    gr_reader *r;
    bool end = false;

    CHECK_OK(gr_reader_open(&r, path, NULL, &check_err));
    if (shares)
        CHECK_OK(gr_reader_share(r, share, shares, &check_err));
    while (!end) {
        gr_row out;
        gram_status rc = gr_reader_pair(r, &out, &end, &check_err);
        if (!rc && end)
            break;
        assert_true(rc == GRAM_OK || rc == GRAM_EFORMAT);
        snprintf(got + strlen(got), 300 - strlen(got), "%s%s", *got ? " " : "",
                 rc ? "!" : strrchr(out.id, '/') ? strrchr(out.id, '/') + 1 : out.id);
        gr_row_clear(&out);
    }
    assert_true(gr_reader_done(r) <= gr_reader_total(r));
    gr_reader_close(r);
}

/* Of the file, and of all shares of it one after the other. */
static void ids_are(const char *text, const char *want)
{
    const char *path = write_file(text);

    for (size_t shares = 0; shares <= 7; shares++) {
        char got[300] = "";
        for (size_t k = 0; k < gr_max(shares, 1); k++)
            add_ids(got, path, k, shares);
        assert_string_equal(got, want);
    }
}

/* In every form of row, each pair that a line expands to, and a group; other than a text is a bad row. */
static void criteria(void **state)
{
    static const char *const good[] = {
        "{\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":\"y\",\"criteria\":\"be brief\"}",
        "{\"prompt\":\"q\",\"response1\":\"x\",\"response2\":\"y\",\"overall_preference\":1,\"criteria\":\"be brief\"}",
        "{\"prompt\":\"q\",\"responses\":[\"a\",\"b\",\"c\"],\"scores\":[1,2,3],\"criteria\":\"be brief\"}",
    }, *const none[] = { "null", "\"\"", "[]" }, *const bad[] = { "1", "[\"a\"]", "{\"a\":1}", "\"a\\u0000\"" };
    gr_row *r;
    gr_group g;
    char line[200];
    size_t rows;

    (void)state;
    for (size_t i = 0; i < GR_COUNT(good); i++) {
        CHECK_OK(gr_rows_parse("f", 1, good[i], strlen(good[i]), &r, &rows, &check_err));
        assert_int_equal(rows, i == 2 ? 3 : 1);
        for (size_t k = 0; k < rows; k++) {
            assert_string_equal(gr_row_pair(&r[k]).prompt.criteria, "be brief");
            gr_row_clear(&r[k]);
        }
        free(r);
    }
    CHECK_OK(gr_group_parse("f", 1, good[2], strlen(good[2]), &g, &check_err));
    assert_string_equal(gr_group_prompt(&g).criteria, "be brief");
    gr_group_clear(&g);
    CHECK_OK(gr_prompt_parse("f", 1, good[0], strlen(good[0]), &g, &check_err));
    assert_string_equal(gr_group_prompt(&g).criteria, "be brief");
    gr_group_clear(&g);
    for (size_t i = 0; i < GR_COUNT(none) + GR_COUNT(bad); i++) {
        bool fine = i < GR_COUNT(none);
        snprintf(line, sizeof line, "{\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":\"y\",\"criteria\":%s}",
                 fine ? none[i] : bad[i - GR_COUNT(none)]);
        assert_int_equal(gr_rows_parse("f", 1, line, strlen(line), &r, &rows, &check_err),
                         fine ? GRAM_OK : GRAM_EFORMAT);
        if (fine) {
            assert_null(r->criteria);
            gr_row_clear(r);
        } else
            assert_non_null(strstr(check_err.text, "\"criteria\""));
        free(r);
    }
}

#define SIDES(q) "\"chosen\":[" q ",{\"role\":\"assistant\",\"content\":\"a\"}],\"rejected\":[" q \
                 ",{\"role\":\"assistant\",\"content\":\"b\"}]}"
#define SAYS(role, text) "{\"role\":\"" role "\",\"content\":\"" text "\"}"

/* A row of Chatbot Arena's, whose texts are lists. */
#define ARENA "{\"prompt\":\"[\\\"q\\\"]\",\"response_a\":\"[\\\"a\\\"]\",\"response_b\":\"[\\\"b\\\"]\"," \
              "\"winner_model_a\":1,\"winner_model_b\":0,\"winner_tie\":0}"

/* What a policy is asked is what a judge of the same row reads: turns that the answers tell, too. */
static void a_prompt_is_the_pairs(void **state)
{
    static const char *const line[] = {
        "{\"prompt\":\"q\"," SIDES(SAYS("user", "q")),
        "{\"prompt\":\"q\"," SIDES(SAYS("system", "s") "," SAYS("user", "q")),
        ARENA,
        "{\"prompt\":\"q\",\"chosen\":\"[a]\",\"rejected\":\"b\"}",
    };
    static const char other[] = "{\"prompt\":\"q\"," SIDES(SAYS("user", "r"));
    static const char *const none[] = { "{\"prompt\":[]}", "{\"prompt\":[],\"responses\":[\"x\",\"y\"]}" };
    gr_row *r;
    gr_group g;
    size_t rows;

    (void)state;
    for (size_t i = 0; i < GR_COUNT(line); i++) {
        gram_prompt a, b;
        CHECK_OK(gr_rows_parse("f", 1, line[i], strlen(line[i]), &r, &rows, &check_err));
        CHECK_OK(gr_prompt_parse("f", 1, line[i], strlen(line[i]), &g, &check_err));
        a = gr_row_pair(r).prompt;
        b = gr_group_prompt(&g);
        assert_true(a.n == b.n && a.n == 1 + (i == 1));
        for (size_t t = 0; t < a.n; t++) {
            assert_string_equal(a.turn[t].role, b.turn[t].role);
            assert_string_equal(a.turn[t].content, b.turn[t].content);
        }
        gr_group_clear(&g);
        gr_row_clear(r);
        free(r);
    }
    assert_int_equal(gr_prompt_parse("f", 1, other, strlen(other), &g, &check_err), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "turn 1 is not the prompt's"));
    for (size_t i = 0; i < GR_COUNT(none); i++) {       /* what is missing is a prompt, not answers */
        assert_int_equal(gr_prompt_parse("f", 1, none[i], strlen(none[i]), &g, &check_err), GRAM_EFORMAT);
        assert_non_null(strstr(check_err.text, "f:1: key \"prompt\" is an empty list"));
    }
}

#define ROW(id) "{" id "\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":\"y\"}"

static void files(void **state)
{
    (void)state;
    ids_are("\xef\xbb\xbf" ROW("") "\n\n  \r\n{bad\n" ROW("\"id\":\"z\","), "rows.jsonl:1 ! z");
    ids_are("", "");
    ids_are("[\n" ROW("\"id\":1,") ",\n {\n}, \n" ROW("") "\n]\n", "1 ! rows.jsonl:3");
    ids_are("{\"id\":\"k\",\"prompt\":\"q\",\"responses\":[\"a\",\"b\",\"c\"],\"scores\":[1,2,3]}\n" ROW(""),
            "k#1-0 k#2-0 k#2-1 rows.jsonl:2");
}

/* Of an array an element is named, not a line; one that is no JSON has no next row, so that it is no bad row. */
static void files_that_are_arrays(void **state)
{
    gr_reader *r;
    gr_row out;
    bool end;

    (void)state;
    CHECK_OK(gr_reader_open(&r, write_file("[\n\n {},\n {}]"), NULL, &check_err));
    for (int i = 1; i <= 2; i++) {
        assert_int_equal(gr_reader_pair(r, &out, &end, &check_err), GRAM_EFORMAT);
        assert_non_null(strstr(check_err.text, i == 1 ? "rows.jsonl: element 1: " : "rows.jsonl: element 2: "));
    }
    gr_reader_close(r);
    CHECK_OK(gr_reader_open(&r, write_file("[\n" ROW("") ",\n" ROW("") "\n"), NULL, &check_err));
    assert_int_equal(gr_reader_pair(r, &out, &end, &check_err), GRAM_EIO);
    assert_non_null(strstr(check_err.text, "not JSON"));
    gr_reader_close(r);
}

/* The chosen answer of the one pair of a file with this line, its apostrophes standing for quotes. */
static void chosen_is(const char *line, const char *columns, const char *want)
{
    char json[600];
    gr_reader *r;
    gr_row out;
    bool end;

    snprintf(json, sizeof json, "%s", line);
    for (char *p = json; (p = strchr(p, '\'')); )
        *p = '"';
    CHECK_OK(gr_reader_open(&r, write_file(json), columns, &check_err));
    CHECK_OK(gr_reader_pair(r, &out, &end, &check_err));
    assert_false(end);
    if (strcmp(out.chosen, want))
        fail_msg("%s\n with columns %s: chosen is %s", json, columns ? columns : "(none)", out.chosen);
    gr_row_clear(&out);
    gr_reader_close(r);
}

/* A column that is named is read, and nothing else that would say the same. */
static void named_columns_alone_are_read(void **state)
{
    static const char in_answers[] = "{'prompt':'q','completions':[{'text':'a','score':1,'rank':2},{'text':'b','score':"
                                     "9,'rank':1}],'mine':[5,2],'best_of':0}";
    static const char beside[] = "{'prompt':'q','completions':['a','b'],'score':[1,9],'rewards':[1,9],'ranking':[2,1],"
                                 "'mine':[5,2],'best_of':0}";
    static const char shp[] = "{'history':'q','human_ref_A':'a','human_ref_B':'b','labels':0,'mine':'A'}";
    static const char first[] = "{'prompt':'q','response1':'a','response2':'b','first_is_better':0,'mine':'A'}";
    (void)state;

    chosen_is(in_answers, NULL, "b");
    chosen_is(in_answers, "scores=mine", "a");
    chosen_is(in_answers, "ranks=mine", "b");
    chosen_is(in_answers, "best=best_of", "a");
    chosen_is(beside, NULL, "b");
    chosen_is(beside, "scores=mine", "a");
    chosen_is(beside, "ranks=mine", "b");
    chosen_is(beside, "best=best_of", "a");
    chosen_is(shp, NULL, "b");
    chosen_is(shp, "label=mine", "a");
    chosen_is(shp, "winner=mine", "a");
    chosen_is(first, NULL, "b");
    chosen_is(first, "label=mine", "a");
    chosen_is(first, "winner=mine", "a");
}

/* CSV has texts alone, and pandas writes numbers, truth values and lists into them in its own way. */
static void texts_of_a_table(void **state)
{
#define TWO "{'prompt':'q','response1':'a','response2':'b',"
    gr_reader *r;
    gr_row out;
    gr_group g;
    bool end;
    (void)state;

    chosen_is(TWO "'overall_preference':'2'}", NULL, "b");
    chosen_is(TWO "'preference_strength':'-1.0'}", NULL, "a");
    chosen_is(TWO "'first_is_better':'False'}", NULL, "b");
    chosen_is(TWO "'first_is_better':'1'}", NULL, "a");
    chosen_is(TWO "'better_response_id':'1'}", NULL, "b");
    chosen_is(TWO "'label':'2.0'}", NULL, "b");
    chosen_is(TWO "'response1_rating':'1','response2_rating':'10'}", NULL, "b");
    chosen_is(TWO "'winner_model_a':'0','winner_model_b':'1','winner_tie':'0'}", NULL, "b");
    chosen_is(TWO "'winner_model_a':'True','winner_model_b':'False','winner_tie':'False'}", NULL, "a");
    chosen_is("{'prompt':'q','completions':['a','b'],'best':'1'}", NULL, "b");
    chosen_is("{'prompt':'q','completions':'[\\u0022a\\u0022, \\u0022b\\u0022]','scores':'[1 9]'}", NULL, "b");
    chosen_is("{'prompt':'q','completions':'[\\u0027a\\u0027, \\u0027b\\u0027]','scores':'[1, 9]','mine':'[9, 1]'}",
              "scores=mine", "a");

    CHECK_OK(gr_reader_open(&r, write_file("{\"prompt\":\"q\",\"responses\":\"['x', 'y']\"}"), NULL, &check_err));
    CHECK_OK(gr_reader_group(r, &g, &end, &check_err));
    assert_int_equal(g.n, 2);
    assert_string_equal(g.response[1], "y");
    gr_group_clear(&g);
    gr_reader_close(r);

    CHECK_OK(parse(ROW_WITH("\"tie\":\"True\"")));
    assert_true(row->tie);
    done();
    assert_int_equal(parse(ROW_WITH("\"soft\":\"80\"")), GRAM_EIO);
    assert_int_equal(parse(ROW_WITH("\"weight\":\"nan\"")), GRAM_EFORMAT);

    CHECK_OK(gr_reader_open(&r, write_file("{\"prompt\":\"q\",\"response1\":\"a\",\"response2\":\"b\",\"overall_prefe"
                                           "rence\":\"1\",\"individual_preference\":\"[{'score': 1, 'reasoning': 'r', "
                                           "'feedback1': 'f', 'feedback2': 'g'}]\"}"), NULL, &check_err));
    gr_reader_want_reasons(r);
    CHECK_OK(gr_reader_pair(r, &out, &end, &check_err));
    assert_non_null(out.reasons);
    assert_non_null(strstr(out.reasons->text[0], "{second} is better."));
    gr_row_clear(&out);
    gr_reader_close(r);
#undef TWO
}

/* kto's rows: one answer, and whether it is good. */
static void labelled_answers(void **state)
{
    static const struct { const char *rest, *says; bool good; double weight; } known[] = {
        { "'completion':'x','label':true", NULL, true, 1 },
        { "'completion':[{'role':'assistant','content':'x'}],'label':0,'weight':2", NULL, false, 2 },
        { "'completion':'x','label':'True','weight':'0.5'", NULL, true, 0.5 },
        { "'completion':'x','label':'0'", NULL, false, 1 },
        { "'completion':'x','label':2", "key \"label\": wanted true or false", false, 0 },
        { "'completion':'x','label':'good'", "found good", false, 0 },
        { "'completion':'x','label':true,'weight':-1", "key \"weight\"", false, 0 },
        { "'label':true", "key \"completion\"", false, 0 },
        { "'completion':[{'role':'user','content':'x'}],'label':true", "found a message of the user", false, 0 },
        { "'completion':[{'role':'assistant','content':'x','tool_calls':[{'function':{'name':'f'}}]}],'label':true",
          "not read here: {\"tool_calls\"", false, 0 },
    };
    (void)state;

    for (size_t i = 0; i < GR_COUNT(known); i++) {
        char json[400];
        gr_reader *r;
        gr_labelled a;
        gr_group g;
        bool end;
        gram_status rc;
        snprintf(json, sizeof json, "{'prompt':'q',%s}", known[i].rest);
        for (char *p = json; (p = strchr(p, '\'')); )
            *p = '"';
        CHECK_OK(gr_reader_open(&r, write_file(json), NULL, &check_err));
        rc = gr_reader_labelled(r, &g, &a, &end, &check_err);
        if (rc != (known[i].says ? GRAM_EFORMAT : GRAM_OK) || (rc && !strstr(check_err.text, known[i].says)))
            fail_msg("%s\n gave status %d: %s", json, rc, rc ? check_err.text : "");
        if (!rc) {
            assert_string_equal(a.text, "x");
            assert_int_equal(a.good, known[i].good);
            assert_true(a.weight == known[i].weight);
            free(a.text);
            gr_group_clear(&g);
        }
        gr_reader_close(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_of_chosen_and_rejected),
        cmocka_unit_test(earlier_turns),
        cmocka_unit_test(a_transcript_of_many_turns),
        cmocka_unit_test(forms_of_two_responses),
        cmocka_unit_test(tools_and_thoughts),
        cmocka_unit_test(labels),
        cmocka_unit_test(completions_expand_to_pairs),
        cmocka_unit_test(bad_rows_say_why),
        cmocka_unit_test(codes_that_condemn_the_file),
        cmocka_unit_test(groups),
        cmocka_unit_test(criteria),
        cmocka_unit_test(named_columns_alone_are_read),
        cmocka_unit_test(texts_of_a_table),
        cmocka_unit_test(labelled_answers),
        cmocka_unit_test(a_line_expands_to_so_much),
        cmocka_unit_test(files),
        cmocka_unit_test(a_prompt_is_the_pairs), cmocka_unit_test(files_that_are_arrays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
