/* test_sets.c - a row of each public data set in its own columns and types: read as its authors mean it, or refused
 * with the way on. The texts are ours. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "data/rows.h"

/* Rows are written with ' for ". */
static char *quoted(const char *s)
{
    char *copy = strdup(s);

    assert_non_null(copy);
    for (char *p = copy; *p; p++)
        if (*p == '\'')
            *p = '"';
    return copy;
}

/* "s:be|u:q" of the conversation, then ">chosen<rejected", of the first pair. */
static void show(const gr_row *r, char out[1000])
{
    size_t n = 0;

    *out = '\0';
    for (size_t i = 0; i < r->n_turns; i++)
        n += (size_t)snprintf(out + n, 1000 - n, "%s%c:%s", i ? "|" : "", r->turn[i].role[0], r->turn[i].content);
    snprintf(out + n, 1000 - n, ">%s<%s", r->chosen, r->rejected);
}

typedef struct { const char *set, *row; size_t pairs; const char *is; bool tie; } set_row;

static void read_set(const set_row *s)
{
    char *json = quoted(s->row), got[1000];
    gr_row *row;
    size_t n;
    gram_status rc = gr_rows_parse("f", 1, json, strlen(json), &row, &n, &check_err);

    if (rc || n != s->pairs)
        fail_msg("%s: %zu pairs, %s", s->set, n, rc ? check_err.text : "");
    show(row, got);
    if (strcmp(got, s->is) || row->tie != s->tie)
        fail_msg("%s: read as %s%s, wanted %s", s->set, got, row->tie ? " (tie)" : "", s->is);
    for (size_t i = 0; i < n; i++)
        gr_row_clear(&row[i]);
    free(row);
    free(json);
}

#define U(t) "{'role':'user','content':'" t "'}"
#define A(t) "{'role':'assistant','content':'" t "'}"

static void sets_that_are_read(void **state)
{
    static const set_row set[] = {
        { "HelpSteer3", "{'domain':'general','language':'english','context':[" U("q") "," A("a") "," U("r") "],'respon"
          "se1':'x',"
          "'response2':'y','overall_preference':-2,'individual_preference':[{'score':-2,'reasoning':'w','feedback_summ"
          "ary':"
          "'f'}]}", 1, "u:q|a:a|u:r>x<y", false },
        { "HelpSteer2 preference", "{'split':'train','prompt':'q\\n<extra_id_1>Assistant\\na\\n<extra_id_1>User\\nr',"
          "'response_1':'x','response_2':'y','preference_strength':2,'preference_statement':'@Response 2 is better',"
          "'all_preferences_unprocessed':[{'strength':2}]}", 1, "u:q|a:a|u:r>y<x", false },
        { "UltraFeedback", "{'source':'evol','instruction':'q','models':['m','n'],'completions':[{'annotations':{'help"
          "fulness':"
          "{'Rating':'4'}},'custom_system_prompt':'As an assistant','model':'m','principle':'p','response':'x','critiq"
          "ue':'c',"
          "'fine-grained_score':3.5,'overall_score':6.0},{'model':'n','response':'y','overall_score':8.5}],"
          "'correct_answers':['None'],'incorrect_answers':['None']}", 1, "u:q>y<x", false },
        { "ultrafeedback_binarized", "{'prompt':'q','prompt_id':'h','chosen':[" U("q") "," A("x") "],'rejected':["
          "" U("q") ","
          A("y") "],'messages':[" U("q") "," A("x") "],'score_chosen':8.5,'score_rejected':6.0}", 1, "u:q>x<y", false },
        { "ultrafeedback-binarized-preferences", "{'source':'s','instruction':'q','chosen_response':'x','rejected_resp"
          "onse':'y',"
          "'chosen_avg_rating':5.0,'rejected_avg_rating':3.75,'chosen_model':'m'}", 1, "u:q>x<y", false },
        { "ultrafeedback-binarized-preferences-cleaned", "{'source':'s','prompt':'q','chosen':[" U("q") "," A("x") "],"
          "'chosen-rating':4.5,'chosen-model':'m','rejected':[" U("q") "," A("y") "],'rejected-rating':4.0}", 1,
          "u:q>x<y", false },
        { "Skywork-Reward-Preference", "{'chosen':[" U("q") "," A("x") "],'rejected':[" U("q") "," A("y") "],'source':"
          "'magpie'}", 1,
          "u:q>x<y", false },
        { "Tulu 3 preference mix", "{'id':'t0','source':'s','prompt':'q','chosen':[" U("q") "," A("x") "],'rejected':["
          "" U("q") ","
          A("y") "]}", 1, "u:q>x<y", false },
        { "Nectar", "{'prompt':'\\n\\nHuman: q\\n\\nAssistant: ','answers':[{'answer':'y','model':'m','rank':2.0},{'an"
          "swer':'x',"
          "'model':'n','rank':1.0}],'turns':1,'num_responses':2,'source':['s'],'good_natured':true}", 1, "u:q>x<y",
          false },
        { "PKU-SafeRLHF", "{'prompt':'q','response_0':'x','response_1':'y','prompt_source':'p','is_response_0_safe':fa"
          "lse,"
          "'is_response_1_safe':true,'better_response_id':1,'safer_response_id':1,'response_0_sha256':'ab'}", 1, "u:q>"
          "y<x",
          false },
        { "RewardBench", "{'prompt':'q','chosen':'x','chosen_model':'m','rejected':'y','rejected_model':'n','subset':"
          "'alpacaeval-easy','id':0}", 1, "u:q>x<y", false },
        { "RewardBench 2", "{'id':'0','prompt':'q','chosen':['x'],'rejected':['y','z'],'num_correct':1,'num_incorrect'"
          ":2,"
          "'total_completions':3,'models':['m','n','o'],'subset':'Math','additional_metadata':{'a':null}}", 2, "u:q>x<"
          "y", false },
        { "RM-Bench", "{'id':'r','prompt':'q','chosen':['x','xx','xxx'],'rejected':['y','yy','yyy'],'domain':'chat'}"
          "", 9,
          "u:q>x<y", false },
        { "JudgeBench", "{'pair_id':'p','original_id':'o','source':'livebench-math','question':'q','response_model':'m"
          "',"
          "'response_A':'x','response_B':'y','label':'B>A'}", 1, "u:q>y<x", false },
        { "PPE human preference", "{'question_id':'h','model_a':'m','model_b':'n','winner':'model_b','prompt':'q','res"
          "ponse_1':'x',"
          "'response_2':'y','language':'English','is_code':false,'hard_prompt':true}", 1, "u:q>y<x", false },
        { "PPE best of K", "{'question_id':'h','prompt':'q','model_name':'m','parsed_outputs':['A','B','A'],'s"
          "cores':[false,"
          "true,false],'mean_score':0.3,'response_1':'y','response_2':'x','response_3':'z','conflict_pairs':[["
          "0,1],[1,2]],"
          "'sampled_conflict_pairs':[[0,1],[1,2]]}", 2, "u:q>x<y", false },
        { "chatbot_arena_conversations", "{'question_id':'h','model_a':'m','model_b':'n','winner':'tie (bothbad)','jud"
          "ge':'arena',"
          "'conversation_a':[" U("q") "," A("x") "],'conversation_b':[" U("q") "," A("y") "],'turn':1,'anony':true,'la"
          "nguage':"
          "'English','tstamp':1682351591.1,'toxic_chat_tag':{'roberta-large':{'flagged':false}}}", 1, "u:q>x<y", true },
        { "arena-human-preference-140k", "{'id':'h','model_a':'m','model_b':'n','winner':'model_a','conversation_a':[{"
          "'role':'user',"
          "'content':[{'type':'text','text':'q','image':null,'mimeType':null}]},{'role':'assistant','content':[{'type'"
          ":'text',"
          "'text':'x','image':null}],'num_tokens':3}],'conversation_b':[" U("q") "," A("y") "],'is_code':false}", 1,
          "u:q>x<y",
          false },
        { "arena-human-preference-55k", "{'id':30192,'model_a':'m','model_b':'n','prompt':'[\\'q\\']','response_a':'["
          "\\'x\\']',"
          "'response_b':'[\\'y\\']','winner_model_a':0,'winner_model_b':1,'winner_tie':0}", 1, "u:q>y<x", false },
        { "SHP", "{'post_id':'p','domain':'askculinary','upvote_ratio':0.98,'history':'q','c_root_id_A':'a','score_A':"
          "5,'score_B':9,"
          "'human_ref_A':'x','human_ref_B':'y','labels':0,'seconds_difference':10.0,'score_ratio':1.8}", 1, "u:q>y<x"
          "", false },
        { "SHP, the other label", "{'history':'q','human_ref_A':'x','human_ref_B':'y','labels':1}", 1, "u:q>x<y",
          false },
        { "orca_dpo_pairs", "{'system':'be','question':'q','chosen':'x','rejected':'y'}", 1, "s:be|u:q>x<y", false },
        { "distilabel-intel-orca-dpo-pairs", "{'system':'be','input':'q','chosen':'x','rejected':'y','generations':['x"
          "','y'],'order':"
          "['a','b'],'labelling_model':'g','rating':[9.0,8.0],'status':'unchanged','chosen_score':9.0,'in_gsm8k_train'"
          ":false}",
          1, "s:be|u:q>x<y", false },
        { "hh-rlhf", "{'chosen':'\\n\\nHuman: q\\n\\nAssistant: x','rejected':'\\n\\nHuman: q\\n\\nAssistant: y'}",
          1, "u:q>x<y",
          false },
        { "hh-rlhf with a prompt", "{'prompt':'\\n\\nHuman: q\\n\\nAssistant:','chosen':' x','rejected':' y'}", 1, "u:"
          "q> x< y", false },
        { "capybara-dpo", "{'source':'s','conversation':[{'input':'q','output':'a'}],'prompt':'q','chosen':[" U("q"
          "") "," A("x") "],"
          "'rejected':[" U("q") "," A("y") "],'rating_chosen':5,'rating_rejected':4}", 1, "u:q>x<y", false },
        { "NeMo RL preference", "{'context':[" U("q") "],'completions':[{'rank':1,'completion':[" A("y") "]},{'rank':0"
          ",'completion':["
          A("x") "]}],'task_name':'t'}", 1, "u:q>x<y", false },
        { "webgpt in columns", "{'question':'q','quotes_0':{'title':[],'extract':[]},'answer_0':'x','score_0':-0.5,'an"
          "swer_1':'y',"
          "'score_1':0.5}", 1, "u:q>y<x", false },
        { "conv_A, conv_B", "{'conv_A':[" U("q") "," A("x") "],'conv_B':[" U("q") "," A("y") "],'conv_A_rating':1,'con"
          "v_B_rating':4}",
          1, "u:q>y<x", false },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(set); i++)
        read_set(&set[i]);
}

static void sets_that_are_refused(void **state)
{
    static const struct { const char *set, *row, *says; } set[] = {
        { "OASST", "{'message_id':'m','parent_id':null,'text':'q','role':'prompter','lang':'en','message_tree_id':'t',"
          "'rank':null}",
          "make pairs of siblings" },
        { "summarize_from_feedback", "{'info':{'post':'q'},'summaries':[{'text':'x'},{'text':'y'}],'choice':1,'worker'"
          ":'w'}",
          "better_response_id" },
        { "webgpt as it ships", "{'question':{'full_text':'q'},'answer_0':'x','score_0':1,'answer_1':'y','score_1':-1}",
          "key \"question\" must be a string" },
        { "PPE best of K without pairs", "{'prompt':'q','response_1':'x','response_2':'y','scores':[true,false]}",
          "which response is better is not said" },
        { "PPE best of K, an index too far", "{'prompt':'q','response_1':'x','response_2':'y','scores':[true,false],"
          "'sampled_conflict_pairs':[[0,2]]}", "must name two of the 2 \"scores\"" },
        { "KTO", "{'prompt':'q','completion':'x','label':true}", "unpaired" },
        { "HelpSteer3 edits", "{'context':[" U("q") "],'original_response':'a','edited_response':'x','feedback':['f']}",
          "found \"context\", \"original_response\"" },
        { "arena, two turns", "{'model_a':'m','model_b':'n','prompt':'[\\'q\\',\\'r\\']','response_a':'[\\'a\\',\\'x\\"
          "']','response_b':"
          "'[\\'b\\',\\'y\\']','winner_model_a':0,'winner_model_b':1,'winner_tie':0}", "a list of one text" },
        { "arena conversations that part early", "{'conversation_a':[" U("q") "," A("a") "," U("r") "," A("x") "],'con"
          "versation_b':["
          U("q") "," A("b") "," U("r") "," A("y") "],'winner':'model_a'}", "turn 2 is not the prompt's" },
        { "images", "{'prompt':'q','chosen':'x','rejected':'y','images':['cat.png']}", "key \"images\"" },
        { "datasets-server", "{'features':[],'rows':[{'row_idx':0,'row':{'prompt':'q'}}]}", "write each as a line" },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(set); i++) {
        char *json = quoted(set[i].row);
        gr_row *row;
        size_t n;
        gram_status rc = gr_rows_parse("f", 1, json, strlen(json), &row, &n, &check_err);
        if (rc != GRAM_EFORMAT || !strstr(check_err.text, set[i].says))
            fail_msg("%s: status %d, %s", set[i].set, rc, rc ? check_err.text : "read");
        free(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_that_are_read),
        cmocka_unit_test(sets_that_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
