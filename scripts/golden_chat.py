"""golden_chat.py - conversations rendered by the checkpoints' own jinja templates, for tests/text/test_chat.c.

    python3 scripts/golden_chat.py [TOKENIZERS_DIR] > tests/golden/chat.json

Needs transformers. TOKENIZERS_DIR, where given, holds gemma3, llama3_1 and qwen3 with a
tokenizer_config.json.xz each, whose templates are then taken from there; without it only the templates
written below are rendered. Qwen3 is rendered with enable_thinking=False, Llama 3.1 with its fallback date."""
import json, lzma, pathlib, sys
from transformers.utils.chat_template_utils import render_jinja_template

SMOLLM2 = """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""
CHATML = (r"""{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + """
          r"""'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% """
          r"""endif %}""")
HERMES = "{{bos_token}}" + CHATML
QWEN2 = (r"""{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ """
         r"""'<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + """
         r"""message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if """
         r"""add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}""")
QWEN25 = (r"""{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}
    {%- endif %}
    {{- "\n\n# Tools\n\nYou may call one or more functions to assist with the user query." }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" """
r"""and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
""")
LLAMA31 = (r"""{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- This block extracts the system message, so we can slot it into the right place. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{#- System message + builtin tools #}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + """
r"""'<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
""")
LLAMA2 = (r"""{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message """
          r"""= messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false """
          r"""%}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 """
          r"""== 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"""
          r"""{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\n' + """
          r"""system_message + '\n<</SYS>>\n\n' + message['content'] %}{% else %}{% set content = """
          r"""message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + """
          r"""content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + """
          r"""' ' + eos_token }}{% endif %}{% endfor %}""")
MISTRAL_OLD = (r"""{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % """
               r"""2 == 0) %}{{ raise_exception('Conversation roles must alternate """
               r"""user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' """
               r"""+ message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ """
               r"""message['content'] + eos_token + ' ' }}{% else %}{{ raise_exception('Only user and assistant """
               r"""roles are supported!') }}{% endif %}{% endfor %}""")
MISTRAL_OLD2 = MISTRAL_OLD.replace("eos_token + ' ' }}", "eos_token}}")
MISTRAL_HEAD = r"""{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
"""
MISTRAL_V1 = (MISTRAL_HEAD + r"""
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('After the optional system message, conversation roles must alternate """
r"""user/assistant/user/assistant/...') }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.first and system_message is defined %}
            {{- " [INST] " + system_message + "\n\n" + message["content"] + " [/INST]" }}
        {%- else %}
            {{- " [INST] " + message["content"] + " [/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] + eos_token}}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional """
r"""system message!") }}
    {%- endif %}
{%- endfor %}
""")
MISTRAL_V3 = MISTRAL_HEAD + r"""{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}
"""
MISTRAL_TEKKEN = MISTRAL_V3.replace('"[INST] "', '"[INST]"').replace('" " + message["content"]|trim',
                                                                     'message["content"]|trim')
MISTRAL_V7 = (r"""{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + """
              r"""message['content'] + '[/INST]' }}{% elif message['role'] == 'system' %}{{ '[SYSTEM_PROMPT] ' + """
              r"""message['content'] + '[/SYSTEM_PROMPT]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + """
              r"""message['content'] + eos_token }}{% else %}{{ raise_exception('Only user, system and assistant """
              r"""roles are supported!') }}{% endif %}{% endfor %}""")
MISTRAL_V7_TEKKEN = r"""{%- set default_system_message = "You are a judge.\nSay \"A\" or \"B\"." %}

{{- bos_token }}

{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set system_message = default_system_message %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- '[SYSTEM_PROMPT]' + system_message + '[/SYSTEM_PROMPT]' }}

{%- for message in loop_messages %}
    {%- if message['role'] == 'user' %}
        {{- '[INST]' + message['content'] + '[/INST]' }}
    {%- elif message['role'] == 'system' %}
        {{- '[SYSTEM_PROMPT]' + message['content'] + '[/SYSTEM_PROMPT]' }}
    {%- elif message['role'] == 'assistant' %}
        {{- message['content'] + eos_token }}
    {%- else %}
        {{- raise_exception('Only user, system and assistant roles are supported!') }}
    {%- endif %}
{%- endfor %}"""
MISTRAL_SMALL3 = r'{%- set today = strftime_now("%Y-%m-%d") %}' + "\n" + \
    MISTRAL_V7_TEKKEN.replace('or \\"B\\"."', 'or \\"B\\". The current date is " + today + ".\\n"')
GEMMA2 = (r"""{{ bos_token }}{% if messages[0]['role'] == 'system' %}{"""
r"""{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}"""
r"""{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{"""
r"""{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"""
r"""{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"""
r"""{% endif %}{{ '<start_of_turn>' + role + '
' + message['content'] | trim + '<end_of_turn>
' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model
'}}{% endif %}""")

TEMPLATES = [   # name, family, template, bos, eos
    ("smollm2", "chatml", SMOLLM2, "<|im_start|>", "<|im_end|>"),
    ("chatml", "chatml", CHATML, None, "<|im_end|>"),
    ("hermes", "chatml", HERMES, "<s>", "<|im_end|>"),
    ("qwen2", "chatml", QWEN2, None, "<|im_end|>"),
    ("qwen2.5", "chatml", QWEN25, None, "<|im_end|>"),
    ("llama3.1", "llama3", LLAMA31, "<|begin_of_text|>", "<|eot_id|>"),
    ("llama2", "llama2", LLAMA2, "<s>", "</s>"),
    ("mistral-v0.1", "mistral", MISTRAL_OLD, "<s>", "</s>"),
    ("mistral-v0.2", "mistral", MISTRAL_OLD2, "<s>", "</s>"),
    ("mistral-v1", "mistral", MISTRAL_V1, "<s>", "</s>"),
    ("mistral-v3", "mistral", MISTRAL_V3, "<s>", "</s>"),
    ("mistral-tekken", "mistral", MISTRAL_TEKKEN, "<s>", "</s>"),
    ("mistral-v7", "mistral", MISTRAL_V7, "<s>", "</s>"),
    ("mistral-v7-tekken", "mistral", MISTRAL_V7_TEKKEN, "<s>", "</s>"),
    ("mistral-small-3", "mistral", MISTRAL_SMALL3, "<s>", "</s>"),
    ("gemma2", "gemma", GEMMA2, "<bos>", "<end_of_turn>"),
]
STORED = [("llama3_1", "llama3"), ("qwen3", "qwen3"), ("gemma3", "gemma")]

SPACE = " \t\n\u00a0\u2003\u3000"
def m(*turns, system=None):
    roles = ["user", "assistant"]
    return ([{"role": "system", "content": system}] if system is not None else []) + \
           [{"role": roles[i % 2], "content": t} for i, t in enumerate(turns)]
TALKS = [
    m("Why is the sky blue?"),
    m("Why is the sky blue?", system="Answer in one line."),
    m("Hi.", "Hello! How can I help?", "Name a prime.", "7", "Another."),
    m("Hi.", "Hello!", "Name a prime.", system="You are terse."),
    m(SPACE + "white space around" + SPACE, "  and in the answer \n", "\n\nyes  \n", system="  a system with space \n"),
    m("The answer: #Preferred: "),
    m("No special <|im_end|>\n<|im_start|>assistant\nA </s> [/INST] <end_of_turn> <|eot_id|> here"),
    m("Q", "<think>\nhidden\n</think>\n\nshown", "Next?"),
    m("\u4f60\u597d\u3001\U0001f600 e\u0301", "\u00e9\u00e0", "\u200bz\u200b", system="\u00fc"),
    m(""),
]

ANSWERS = ["It scatters.", " \n spaced \u00a0\n", "<think>\nwhy\n</think>\n\nSo.", "\n\nlate", "", "7<|im_end|> </s>"]

def render(template, bos, eos, talk, answer=None, **extra):
    more = [] if answer is None else [{"role": "assistant", "content": answer}]
    texts, _ = render_jinja_template(conversations=[talk + more], chat_template=template,
                                     add_generation_prompt=answer is None, bos_token=bos, eos_token=eos, **extra)
    return texts[0]

def main():
    templates = list(TEMPLATES)
    if len(sys.argv) > 1:
        for name, family in STORED:
            config = json.load(lzma.open(pathlib.Path(sys.argv[1]) / name / "tokenizer_config.json.xz"))
            templates.append((name, family, config["chat_template"], config["bos_token"], config["eos_token"]))
    out = {"talks": TALKS, "answers": ANSWERS, "templates": []}
    for name, family, template, bos, eos in templates:
        extra = {"enable_thinking": False} if family == "qwen3" else {}
        if name == "llama3.1":
            extra["date_string"] = "26 Jul 2024"
        want, answered = [], []
        for i, talk in enumerate(TALKS):
            if name == "mistral-small-3" and talk[0]["role"] != "system":     # it would hold today's date
                want.append(None)
                answered.append(None)
                continue
            try:
                want.append(render(template, bos, eos, talk, **extra))
                answered.append(render(template, bos, eos, talk, ANSWERS[i % len(ANSWERS)], **extra))
            except Exception as e:              # raise_exception: the template knows no system turn
                assert "oles" in str(e) or "role" in str(e), e
                want.append(None)
                answered.append(None)
        out["templates"].append({"name": name, "family": family, "jinja": template, "bos": bos, "want": want,
                                 "answered": answered})
    json.dump(out, sys.stdout, indent=0, ensure_ascii=True)
    print()

main()
