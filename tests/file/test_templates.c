/* test_templates.c - the chat templates of a directory: one that is there and cannot be read is not passed over. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "check.h"
#include "file/io.h"
#include "file/tok_facts.h"

static void a_folder_that_cannot_be_read_is_an_error(void **state)
{
    char *dir = check_tmppath("model"), *folder = gr_path_join(dir, "additional_chat_templates");
    char *config = gr_path_join(dir, "tokenizer_config.json");
    static const char text[] = "{\"chat_template\":\"{{ messages }}\"}";
    gr_tok_facts f;

    (void)state;
    assert_int_equal(mkdir(dir, 0777), 0);
    CHECK_OK(gr_write_file(config, text, strlen(text), &check_err));
    CHECK_OK(gr_tok_facts_read(&f, dir, &check_err));
    assert_string_equal(f.chat.jinja, "{{ messages }}");
    gr_tok_facts_clear(&f);
    assert_int_equal(symlink("additional_chat_templates", folder), 0);      /* a link to itself */
    assert_int_equal(gr_tok_facts_read(&f, dir, &check_err), GRAM_EIO);
    assert_non_null(strstr(check_err.text, folder));
    free(config);
    free(folder);
    free(dir);
}

/* A download that was cut off, or a cache that was cleared in part, leaves links without their files. */
static void a_link_that_leads_nowhere_is_an_error(void **state)
{
    static const char *const name[] = { "chat_template.jinja", "tokenizer_config.json", "processor_config.json" };
    gr_tok_facts f;

    (void)state;
    for (size_t i = 0; i < GR_COUNT(name); i++) {
        char *dir = check_tmppath(name[i]), *file = gr_path_join(dir, name[i]);
        assert_int_equal(mkdir(dir, 0777), 0);
        CHECK_OK(gr_tok_facts_read(&f, dir, &check_err));
        gr_tok_facts_clear(&f);
        assert_int_equal(symlink("../blobs/none", file), 0);
        assert_int_equal(gr_tok_facts_read(&f, dir, &check_err), GRAM_EIO);
        assert_non_null(strstr(check_err.text, file));
        free(file);
        free(dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_that_cannot_be_read_is_an_error),
        cmocka_unit_test(a_link_that_leads_nowhere_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
