"""golden_jinja.py - templates of many kinds and what transformers' Jinja makes of them, for tests/jinja/test_jinja.c.

    python3 scripts/golden_jinja.py > tests/golden/jinja.json
    python3 scripts/golden_jinja.py SEED COUNT [GRAM]

The first form writes the templates below and some hundred that a seeded generator makes, each with its text, or null
where Python raises. The second compares COUNT generated templates with what `gram render` (build/gram) makes of them,
and prints those that differ. Needs transformers."""
import json, pathlib, random, re, subprocess, sys, tempfile
from transformers.utils.chat_template_utils import _cached_compile_jinja_template as compile_template

DATA = {
    'messages': [{'role': 'system', 'content': 'Be brief.'},
                 {'role': 'user', 'content': ' Hi <b> "q" \'s\' \n there '},
                 {'role': 'assistant', 'content': 'Ünïcode ß ﬁ 你好 🙂',
                  'tool_calls': [{'function': {'name': 'f', 'arguments': {'x': 1, 'y': [1, 2.5, None, True]}}}]},
                 {'role': 'user', 'content': ''}],
    'tools': None, 'n': 3, 'z': 0, 'f': 2.5, 't': True, 'none_v': None, 's': 'Hello World, hello', 'u': 'Straße ÀÉ',
    'l': [3, 1, 2], 'ls': ['b', 'A', 'c', 'a'], 'd': {'b': 1, 'a': 2, 'C': 3}, 'e': [],
    'nested': {'a': {'b': [{'c': 5}, {'c': 6}]}}, 'multi': 'line one\n  line two\n\nline four\n', 'num': '42',
    'flt': '3.5e2', 'ml': [[1, 2], [3, 4]], 'neg': -7}
VARS = list(DATA) + ['undef', 'loop', 'x', 'y', 'ns']

OWN = [
    "{% for m in messages %}{{ m.role }}: {{ m['content'] | trim }}\n{% endfor %}",
    "  {% if true %}\n  a\n  {% endif %}\n  b\n", "{{ 'a' }}\n{{ 'b' }}\n", "x {%- if true -%} y {%- endif -%} z",
    "a\n  {%+ if true %}\nb{% endif +%}\nc", "{# c #}\n{#- d -#}\n e", "{% raw %}{{ x }}{% endraw %}\n{{ '{%' }}",
    "{% set ns = namespace(n=0, l=[]) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% set x = 1 %}{% endfor %}"
    "{{ ns.n }}{{ x }}",
    "{% for i in l %}{% if loop.first %}{% set y = 1 %}{% endif %}{{ y }}{% endfor %}",
    "{% for i in l %}{{ z }}{% endfor %}{% set z = 5 %}{{ z }}",
    "{% macro m(a, b='d', c=a) %}{{ a }}{{ b }}{{ c }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1) }}{{ m(1, c=2) }}"
    "{{ m(1, 2, 3, 4, k=5) }}",
    "{% macro m(x) %}[{{ caller(x) }}]{% endmacro %}{% call(y) m(3) %}{{ y }}{{ n }}{% endcall %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }}{{ ',' if not loop.last }}{% else %}none{% endfor %}",
    "{% for k, v in d | dictsort(by='value', reverse=true) %}{{ loop.index }}{{ loop.revindex0 }}{{ k }}{% endfor %}",
    "{% for x in ml recursive %}{{ loop.depth }}{% if x is sequence %}({{ loop(x) }}){% else %}{{ x }}{% endif %}"
    "{% endfor %}",
    "{% for m in messages if m.role != 'system' %}{{ loop.index }}/{{ loop.length }}{{ m.role }}{% break %}"
    "{% endfor %}",
    "{{ messages[1:] | length }}{{ messages[::-1][0].role }}{{ s[-5:] }}{{ s[::2] }}{{ u[3:5] }}{{ l[5:] }}",
    "{{ messages | map(attribute='role') | join(',') }}{{ messages | selectattr('role', 'equalto', 'user') | list | "
    "length }}",
    "{{ messages | rejectattr('tool_calls', 'defined') | map(attribute='content') | map('length') | list }}",
    "{{ messages[2].tool_calls[0].function | tojson }}{{ d | tojson(indent=2) }}{{ u | tojson(ensure_ascii=true) }}"
    "{{ e | tojson }}",
    "{{ 'a' if undef else 'b' }}{{ undef is defined }}{{ undef }}{{ undef | default('q') }}{{ none_v or 'w' }}",
    "{{ 1 < 2 < 3 }}{{ 3 > 2 > 2 }}{{ 'a' in s }}{{ 'role' in messages[0] }}{{ 2 not in l }}{{ not 1 == 2 }}",
    "{{ 7 // 2 }}{{ -7 // 2 }}{{ -7 % 3 }}{{ 7 / 2 }}{{ 2 ** 10 }}{{ -2 ** 2 }}{{ 1e16 }}{{ 0.1 + 0.2 }}{{ 1e-5 }}"
    "{{ 100.0 }}",
    "{{ 'a' ~ 1 ~ none ~ true ~ 2.5 }}{{ 'x' * 3 }}{{ [1] + [2] }}{{ (1, 2) + (3,) }}{{ 'a' 'b' }}",
    "{{ \"it's\" }}{{ ['it\\'s', \"q\\\"\", 'n\\n'] }}{{ (1,) }}{{ {'k': none} }}{{ ['é', '\\x00'] }}",
    "{{ '%s-%05.2f-%x-%r' % ('a', 2.5, 255, 'b') }}{{ '{} {x} {0.real_}'.format(1, x=2) if false else "
    "'{} {x}'.format(1, x=2) }}",
    "{% set x %}a{{ n }}{% endset %}{{ x }}{% set y | upper %}b{% endset %}{{ y }}{% filter replace('a', 'b') %}aa"
    "{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}",
    "{{ range(3) | list }}{{ range(1, 7, 2) }}{{ dict(a=1) }}",
    "{% set j = joiner('|') %}{% for i in l %}{{ j() }}{{ i }}{% endfor %}{% set c = cycler('o', 'e') %}{{ c.next() }}"
    "{{ c.current }}",
    "{% generation %}{{ s }}{% endgeneration %}", "{{ raise_exception('no') }}", "{{ messages[0].append }}",
    "{{ l.append(1) }}",
    "{{ undef.x }}", "{{ messages[9].x }}", "{{ 1 + 'a' }}", "{% for x in 5 %}{% endfor %}", "{{ s.nope() }}",
    "{{ d.items }}" if False else "{{ d.get('a') }}",
    "{{ messages[0].__class__ }}{{ s.split(', ') }}{{ s.split('l', 1)[1] }}{{ multi.splitlines() }}"
    "{{ ' a b '.split() }}",
    "{{ u | upper }}{{ u | lower }}{{ 'ﬁx' | title }}{{ 'ΑΣ' | lower }}{{ 'hello world' | capitalize }}{{ s.title() }}",
    "{{ 'a<b' | e | list }}{{ 'a<b' | safe | reverse }}{{ ('a<b' | e)[0] ~ '<' }}", "{{ 1.5e10 ** 1.5e10 }}",
]

def S():
    return R.choice(["'a'","'b'",'"x y"',"''","' '","'\\n'","'l'","'o'","'he'","','","'0'","'é'","'ß'","'🙂'","'%s'",
                     "'{}'","'role'","'content'","'user'","'a,b,,c'","' pad '","'12'","'A-b c_d'","'<x>'","'\\t'",
                     "'aXbXc'","'ǆ'","'İ'","'ΑΣ'"])
def I(): return R.choice(['0','1','2','3','-1','-2','10','7','1_000','0x1F'])
def F(): return R.choice(['0.5','1.0','2.5','1e3','3.14159','1e-7','1e16','123456789.123','-0.5'])
def E(d):
    if d<=0:
        k=R.random()
        if k<.3: return R.choice(VARS)
        if k<.6: return S()
        if k<.8: return I()
        if k<.87: return F()
        return R.choice(['true','false','none','True','None','[]','{}','()','[1,2]',"{'a':1}","(1,)","'x'",
                         'messages[0]','messages[1].content'])
    k=R.randrange(24)
    if k==0: return '[%s]'%', '.join(E(d-1) for _ in range(R.randrange(4)))
    if k==1: return '{%s}'%', '.join('%s: %s'%(S(),E(d-1)) for _ in range(R.randrange(3)))
    if k==2: return '(%s)'%E(d-1)
    if k==3: return '%s.%s'%(P(d - 1), R.choice(['role','content','a','b','items','keys','c','x','first','0','1',
                                                 'upper','nested']))
    if k==4: return '%s[%s]'%(P(d-1),E(d-1))
    if k==5: return '%s[%s:%s%s]'%(R.choice(['s','l','ls','messages','u','multi','messages[1].content','undef',
                                             '(s ~ u)','(l + ls)','range(5)','(1,n)','n','d']),R.choice(['',I(),E(0)]),
                                   R.choice(['',I()]),R.choice(['','',':',':-1',':2',':-2']))
    if k in(6,7,8): return '%s %s %s'%(E(d-1),R.choice(['+','+','-','*','/','//','%','**','~','~']),E(d-1))
    if k==9: return '%s %s %s'%(E(d-1),R.choice(['==','!=','<','<=','>','>=','in','not in']),E(d-1))
    if k==10: return '%s %s %s'%(E(d-1),R.choice(['and','or']),E(d-1))
    if k==11: return R.choice(['not %s','-%s','+%s'])%E(d-1)
    if k==12: return '%s if %s%s'%(E(d-1),E(d-1),R.choice([' else '+E(d-1),' else '+E(d-1),'']))
    if k in(13,14,15,16,17): return '%s | %s'%(P(d-1),FILT(d-1))
    if k==18 or k==19: return '%s is %s%s'%(P(d - 1), R.choice(['','','not ']),TEST(d-1))
    if k in(20,21,22): return '%s.%s'%(P(d-1),METH(d-1))
    if k==23: return R.choice(['range(%s)'%E(0),'range(%s, %s)'%(I(),I()),'range(%s,%s,%s)'%(I(),I(),I()),
                               'dict(a=%s)'%E(d-1),'namespace(x=%s).x'%E(d-1),'dict(%s)'%E(d-1)])
def P(d):
    e=E(d)
    return e if re.fullmatch(r"[\w.]+",e) else '(%s)'%e
def FILT(d):
    a=lambda: E(d-1) if R.random()<.3 else E(0)
    return R.choice([
 'abs','capitalize','center(%s)'%R.choice(['10','3','20']),'count','default(%s)'%a(),'default(%s, true)'%a(),'d',
                     'dictsort','dictsort(by=%s)'%"'value'",'dictsort(reverse=true)','dictsort(true)','e','escape',
                     'first','float','float(%s)'%a(),'forceescape','format(%s)'%a(),'groupby(%s)'%S(),
 'indent','indent(2)','indent(2, true)','indent(2,true,true)',"indent('>> ')",'int','int(%s)'%a(),'int(0, 16)','join',
                     'join(%s)'%S(),"join(', ')","join('-', attribute=%s)"%S(),'last','length','list','lower','items',
                     'map(%s)'%R.choice(["'upper'","'length'","'string'","'int'","'trim'","'default', 'q'",
                                         "attribute='role'","attribute='content'","attribute='c', default=1","'tojson'",
                                         "attribute=0","'nofilter'"]),
 'min','max','max(attribute=%s)'%S(),'reject','reject(%s)'%TESTN(),'rejectattr(%s)'%S(),
                     'rejectattr(%s, %s)'%(S(),TESTN()),'replace(%s, %s)'%(S(),S()),'replace(%s, %s, 1)'%(S(),S()),
                     'reverse','round','round(1)','round(2)',"round(1,'floor')","round(0,'ceil')",'safe','select',
                     'select(%s)'%TESTN(),'selectattr(%s)'%S(),'selectattr(%s, %s)'%(S(),TESTN()),
                     "selectattr('role', 'equalto', %s)"%S(),
 'slice(2)','slice(3, %s)'%a(),'batch(2)','batch(3, %s)'%a(),'sort','sort(reverse=true)','sort(true)',
                     "sort(attribute='role')","sort(attribute='c')",'string','sum','sum(%s)'%S(),'sum(start=%s)'%a(),
                     'title','trim','trim(%s)'%S(),'truncate(8)','truncate(5, true)',"truncate(8, false, '..', 0)",
                     'unique','unique(true)',"unique(attribute='role')",'upper','wordcount','tojson','tojson(indent=2)',
                     'tojson(ensure_ascii=true)',"tojson(separators=(',', ':'))",'tojson(sort_keys=true)',
                     'tojson(indent=2, sort_keys=true)','attr(%s)'%S()])
def TESTN(): return R.choice(["'defined'","'string'","'none'","'eq', 1","'equalto', 'user'","'in', ['user','a']",
                              "'odd'","'gt', 1","'lt', 2","'mapping'","'number'","'true'","'ne', 'user'","'=='",
                              "'notest'"])
def TEST(d): return R.choice(['defined','undefined','none','string','mapping','iterable','sequence','number','integer',
                              'float','boolean','true','false','odd','even','callable','lower','upper','escaped',
                              'divisibleby(%s)'%I(),'divisibleby 2','eq(%s)'%E(d-1),'equalto(%s)'%S(),'ne(%s)'%E(0),
                              'gt(%s)'%E(0),'lt %s'%I(),'ge(%s)'%I(),'le(%s)'%F(),'in(%s)'%E(d-1),"in ['a','b']",
                              'sameas(none)','sameas true',"filter","test"])
def METH(d):
    a=lambda: E(d-1) if R.random()<.2 else S()
    return R.choice(['strip()','strip(%s)'%a(),'lstrip()','rstrip(%s)'%a(),'split()','split(%s)'%a(),'split(%s, 1)'%a(),
                     'rsplit(%s, 1)'%a(),'rsplit()','rsplit(none, 1)','split(none,2)','splitlines()','splitlines(true)',
                     'replace(%s, %s)'%(a(),a()),'replace(%s,%s,2)'%(a(),a()),'startswith(%s)'%a(),'endswith(%s)'%a(),
                     "startswith(('a','H'))",'upper()','lower()','title()','capitalize()','swapcase()','casefold()',
                     'join(%s)'%E(d-1),"join(ls)",'format(%s)'%E(d-1),'format(%s, b=%s)'%(E(0),E(0)),'find(%s)'%a(),
                     'rfind(%s)'%a(),'find(%s, 1)'%a(),'index(%s)'%a(),'count(%s)'%a(),'isdigit()','isalpha()',
                     'isalnum()','isspace()','isupper()','islower()','istitle()','isnumeric()','isdecimal()',
                     'isascii()','isidentifier()','isprintable()','zfill(5)','center(9)',"center(8,'*')",'ljust(6)',
                     "rjust(7,'.')",'partition(%s)'%a(),'rpartition(%s)'%a(),'removeprefix(%s)'%a(),
                     'removesuffix(%s)'%a(),'get(%s)'%a(),'get(%s, %s)'%(a(),E(0)),'items()','keys()','values()',
                     'items() | list','copy()','index(%s)'%E(0),'count(%s)'%E(0),'append(1)','pop()','nomethod()',
                     '__class__'])
def ws(): return R.choice(['','','-','+']) ,R.choice(['','','-','+'])
def tag(s):
    a,b=ws(); 
    return '{%'+a+' '+s+' '+b+'%}'
def out(d):
    a=R.choice(['','','-']);b=R.choice(['','','-'])
    return '{{'+a+' '+E(d)+' '+b+'}}'
def txt(): return R.choice(['','a','\n','  ','\n\n','  \n  ','x\n','\n y ',' . ','{','}','#','<|im_start|>','\t\n',
                            '\r\n','é'])
def STM(d,loop=False,macro=False):
    k=R.randrange(20)
    if k<8 or d<=0: return out(R.randrange(3))
    if k==8: return tag('set %s = %s'%(R.choice(['x','y','n','s','q']),E(2)))
    if k==9: return (tag('if '+E(2))+B(d-1,loop)+(tag('elif '+E(1))+B(d-1,loop) if R.random()<.3 else '')+
                     (tag('else')+B(d-1,loop) if R.random()<.5 else '')+tag('endif'))
    if k in(10,11): 
        it=R.choice(['l','messages','d','d.items()','range(3)','ls','s','e','ml',E(1),'messages if m.role == %s'%S(),
                     'd | dictsort','l if m > 1','l if loop is defined','messages[::-1]'])
        t=R.choice(['m','m','m','k, v','x'])
        return (tag('for %s in %s'%(t,it))+B(d-1,True,loop2=True)+
                (tag('else')+B(d-1,loop) if R.random()<.2 else '')+tag('endfor'))
    if k==12: return tag('set %s'%R.choice(['x','y']))+B(d-1)+tag('endset')
    if k==13: return tag('set x | %s'%R.choice(['upper','trim','length','replace("a","b")']))+B(d-1)+tag('endset')
    if k==14: 
        return (tag('macro mac(a, b=%s)'%E(0))+B(d-1)+
                R.choice(['{{ a }}{{ b }}','{{ varargs }}{{ kwargs }}','{{ caller() }}',
                          '{{ caller(1) if caller else "-" }}',''])+tag('endmacro')+
                R.choice(['{{ mac(1) }}','{{ mac(1,2) }}','{{ mac(b=3) }}','{{ mac(1,2,3) }}','{{ mac(1,k=2) }}',
                          '{% call mac(1) %}c{% endcall %}','{% call(q) mac(1) %}c{{ q }}{% endcall %}','{{ mac() }}',
                          '{{ mac }}']))
    if k==15: return tag('filter %s'%R.choice(['upper','trim','indent(2)','length','title']))+B(d-1)+tag('endfilter')
    if k==16: return tag('with x = %s'%E(1))+B(d-1,loop)+tag('endwith')
    if k==17: return R.choice(['{# c #}','{#- c -#}','{# c -#}','{% raw %}{{ x }}{% endraw %}',
                               '{%- raw -%} {% x %} {%- endraw -%}',
                               '{% generation %}%s{% endgeneration %}'.replace('%s',B(d-1))])
    if k==18: return ('{% set ns = namespace(a=1) %}'+tag('set ns.%s = %s'%(R.choice(['a','b','_c']),E(1)))+
                      '{{ ns.a }}{{ ns.b }}')
    if k==19 and loop: return R.choice([tag('break'),tag('continue'),'{% if loop.index > 1 %}{% break %}{% endif %}',
                                        '{% if loop.first %}{% continue %}{% endif %}',
                                        '{{ loop.index }}{{ loop.last }}','{{ loop.revindex }}/{{ loop.length }}',
                                        '{{ loop.previtem }}|{{ loop.nextitem }}','{{ loop.cycle("a","b") }}',
                                        '{{ loop.changed(m) }}',
                                        '{{ loop.index0 }}{{ loop.revindex0 }}{{ loop.depth }}'])
    return txt()
def B(d,loop=False,loop2=False):
    return ''.join(R.choice([txt(),STM(d,loop)]) for _ in range(R.randrange(1,4)))
def T():
    return ''.join(R.choice([txt(), STM(3)]) for _ in range(R.randrange(1, 5)))


def text_of(template):
    """The text; None where Python raises; False where the text holds an address, which no template means to write."""
    try:
        text = compile_template(template).render(**DATA)
        text.encode()
    except Exception:
        return None
    return False if re.search(r'at 0x|<built-in|<bound', text, re.I) else text


def compare(seed, count, gram):
    global R
    R = random.Random(seed)
    folder = pathlib.Path(tempfile.mkdtemp())
    template, talk = folder / 't.jinja', folder / 'c.jsonl'
    given = {k: v for k, v in DATA.items() if k not in ('messages', 'tools')}
    talk.write_text(json.dumps({'messages': DATA['messages'], 'arguments': given}) + '\n')
    same = differ = refused = 0
    for _ in range(count):
        t = T()
        want = text_of(t)
        if want is False:
            continue
        template.write_text(t, newline='')
        p = subprocess.run([gram, 'render', '--template', template, talk], capture_output=True, text=True)
        got = json.loads(p.stdout) if p.returncode == 0 else {'error': p.stderr}
        if 'gram does not know' in got.get('error', '') or 'more than 64 bits' in got.get('error', ''):
            refused += 1
        elif got.get('text') == want:
            same += 1
        else:
            differ += 1
            print(json.dumps({'template': t, 'want': want, 'got': got}, ensure_ascii=False))
    print(f'{same} the same, {refused} refused by name, {differ} differ')


R = random.Random(1)
if len(sys.argv) > 2:
    compare(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else 'build/gram')
else:
    rows = [{'template': t, 'text': text_of(t)} for t in OWN + [T() for _ in range(500)]]
    json.dump({'data': DATA, 'templates': [r for r in rows if r['text'] is not False]}, sys.stdout, indent=0)
    print()
