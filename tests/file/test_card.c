/* test_card.c - judge.json: what is read, what is refused, and that what is written is read again. */
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "file/card.h"

#define SHA "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

static gram_status parse(gr_card *c, const char *text)
{
    return gr_card_parse(c, "judge.json", text, strlen(text), &check_err);
}

static void what_is_written_is_read(void **state)
{
    const gram_temperature_fit fit = { 120, 1.375, 0.7, 0.6, 0.09, 0.03, 1.1, 1.7 };
    gr_card c, again;
    char *path = check_tmppath("judge.json");

    (void)state;
    CHECK_OK(parse(&c, "{\"name\":\"n\",\"about\":\"x\",\"temperature\":1.375,\"base\":{\"file\":\"b.gguf\","
                       "\"bytes\":12,"
                       "\"sha256\":\"" SHA "\"},\"calibration\":{},\"reads\":{\"prompt\":\"{input} \\n\","
                       "\"labels\":[\"1\",\"2\"],\"template\":\"llama2\",\"chat_args\":{\"x\":[1]},"
                       "\"format\":{\"cue\":\"[[\"}}}"));
    CHECK_OK(gr_card_write(path, &c, &fit, &check_err));
    *strrchr(path, '/') = '\0';
    CHECK_OK(gr_card_read(&again, path, &check_err));
    assert_true(again.there && again.temperature == 1.375 && again.base_bytes == 12);
    assert_string_equal(again.name, "n");
    assert_string_equal(again.about, "x");
    assert_string_equal(again.base_file, "b.gguf");
    assert_string_equal(again.base_sha256, SHA);
    assert_true(gr_card_says_words(&again));
    assert_string_equal(again.reads.prompt, "{input} \n");
    assert_string_equal(again.reads.label[0], "1");
    assert_string_equal(again.reads.label[1], "2");
    assert_string_equal(again.reads.template, "llama2");
    assert_string_equal(again.reads.chat_args, "{\"x\":[1]}");
    assert_string_equal(again.reads.format, "{\"cue\":\"[[\"}");
    gr_card_clear(&c);
    gr_card_clear(&again);
    free(path);
    CHECK_OK(gr_card_read(&c, "/nowhere/at/all", &check_err));
    assert_false(c.there);
}

static void what_could_change_a_number_is_refused(void **state)
{
    static const struct { const char *text, *says; } c[] = {
        { "{\"temprature\":2}", "temprature" }, { "{\"temperature\":0}", "0.001" }, { "{\"temperature\":\"1\"}",
                                                                                     "number" },
        { "{\"temperature\":-1}", "0.001" }, { "{\"temperature\":1e9}", "1000" }, { "[]", "object" }, { "{",
                                                                                                       "judge.json:1" },
        { "{\"temperature\":1,\"temperature\":2}", "uplicate" }, { "{\"name\":\"\"}", "name" }, { "{\"name\":3}",
                                                                                                 "name" },
        { "{\"base\":\"x\"}", "base" }, { "{\"base\":{\"file\":\"../x\",\"bytes\":1}}", "directory" },
        { "{\"base\":{\"file\":\"x\"}}", "bytes" }, { "{\"base\":{\"file\":\"x\",\"bytes\":1,\"md5\":\"\"}}", "md5" },
        { "{\"base\":{\"file\":\"x\",\"bytes\":1,\"sha256\":\"12\"}}", "64" },
        { "{\"reads\":[]}", "reads" }, { "{\"reads\":{\"promt\":\"\"}}", "promt" },
        { "{\"reads\":{\"labels\":[\"A\"]}}", "two" }, { "{\"reads\":{\"labels\":[\"A\",\"\"]}}", "labels" },
        { "{\"reads\":{\"template\":\"/etc/passwd\"}}", "chatml" }, { "{\"reads\":{\"chat_args\":1}}", "chat_args" },
        { "{\"reads\":{\"format\":\"form.json\"}}", "format: wanted gram-r2" },
        { "{\"reads\":{\"format\":1}}", "format" },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(c); i++) {
        gr_card card;
        assert_int_equal(parse(&card, c[i].text), GRAM_EFORMAT);
        if (!strstr(check_err.text, c[i].says))
            fail_msg("%s: %s", c[i].text, check_err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(what_could_change_a_number_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
