// @openai/agents, the JavaScript package: https://github.com/openai/openai-agents-js. Its transport takes ws: too.
import { RealtimeAgent, RealtimeSession, tool } from '@openai/agents/realtime';

import { KEY, S2S_URL, require, requireWords, run, speech } from './report.mjs';

async function talking(agentFields, config) {
    const agent = new RealtimeAgent({ name: 'assistant', instructions: 'Give a short answer.', ...agentFields });
    const session = new RealtimeSession(agent, { transport: 'websocket', tracingDisabled: true, config });
    const errors = [];
    session.on('error', (error) => errors.push(JSON.stringify(error)));
    await session.connect({ apiKey: KEY, url: `${S2S_URL.replace('http', 'ws')}/v1/realtime?model=gpt-realtime` });
    return { session, errors };
}

// Resolves with the first of these that `holds`, from now on; an error ends it.
function next(session, name, holds = () => true) {
    return new Promise((resolve, reject) => {
        session.on('error', (error) => reject(new Error(JSON.stringify(error))));
        session.on(name, (...said) => holds(...said) && resolve(said));
    });
}

const transport = (session, type) => next(session, 'transport_event', (event) => event.type === type);

function append(session) {
    for (const part of speech(24_000)) session.sendAudio(part.buffer.slice(part.byteOffset, part.byteOffset + part.length));
}

async function spokenTurn() {
    const { session } = await talking({}, { audio: { input: { transcription: { model: 'whisper-1' } } } });
    const [sound, end] = [next(session, 'audio'), next(session, 'agent_end')];
    const heard = transport(session, 'conversation.item.input_audio_transcription.completed');
    append(session);
    await sound;
    require((await end)[2].includes('short answer'), 'another answer');
    session.close();
    return requireWords((await heard)[0].transcript);
}

async function textTurn() {
    const { session } = await talking({});
    const end = next(session, 'agent_end');
    session.sendMessage('Hello there.');
    require((await end)[2].includes('short answer'), 'another answer');
    session.close();
}

async function toolCall() {
    const weather = tool({
        name: 'weather',
        description: 'in a city',
        parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: true },
        strict: false,
        execute: async () => 'sunny',
    });
    const { session } = await talking({ tools: [weather] });
    const end = next(session, 'agent_end', (_, __, text) => text.includes('sunny'));
    session.sendMessage('What is the weather?');
    await end;
    session.close();
}

async function interruption() {
    const { session } = await talking({ instructions: 'Count.' });
    const sound = next(session, 'audio');
    append(session);
    await sound;
    const interrupted = next(session, 'audio_interrupted');
    append(session);
    await interrupted;
    session.close();
}

async function truncation() {
    const { session } = await talking({ instructions: 'Count.' });
    const sound = next(session, 'audio');
    session.sendMessage('Count.');
    await sound;
    const truncated = transport(session, 'conversation.item.truncated');
    session.interrupt();
    await truncated;
    session.close();
}

await run('@openai/agents (JavaScript)', '@openai/agents', {
    'spoken turn': spokenTurn,
    'text turn': textTurn,
    'tool call': toolCall,
    interruption,
    truncation,
});
