// openai, the JavaScript package: https://github.com/openai/openai-node. Its WebSockets are wss alone.
import { createReadStream } from 'node:fs';

import OpenAI from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { OpenAIRealtimeWebSocket } from 'openai/realtime/websocket';

import { ASR_TLS_URL, ASR_URL, KEY, S2S_TLS_URL, SPEECH, TTS_URL, require, requireWords, run, speech } from './report.mjs';

const client = (url) => new OpenAI({ baseURL: `${url}/v1`, apiKey: KEY });

async function transcribe() {
    const found = await client(ASR_URL).audio.transcriptions.create({ file: createReadStream(SPEECH), model: 'whisper-1' });
    return requireWords(found.text);
}

async function speak() {
    const found = await client(TTS_URL).audio.speech.create({ model: 'tts-1', voice: 'alloy', input: 'Good morning!' });
    require((await found.arrayBuffer()).byteLength > 2_000, 'too little sound');
}

async function speakStreamed() {
    const body = { model: 'tts-1', voice: 'alloy', input: 'One. Two. Three.', response_format: 'pcm' };
    const found = await client(TTS_URL).audio.speech.create(body);
    let bytes = 0;
    for await (const chunk of found.body) bytes += chunk.length;
    require(bytes > 24_000, 'too little sound');
}

const append = (connection) => {
    for (const part of speech(24_000)) connection.send({ type: 'input_audio_buffer.append', audio: part.toString('base64') });
};

// Resolves with the first event of this type; any error ends it.
const next = (connection, type) =>
    new Promise((resolve, reject) => {
        connection.on('error', reject);
        connection.on(type, resolve);
    });

const opened = (connection) => next(connection, 'session.created');

// The one of Node first, with a header for the key; then a browser's, which has a subprotocol for it.
async function captions() {
    let heard = '';
    for (const Connection of globalThis.WebSocket ? [OpenAIRealtimeWS, OpenAIRealtimeWebSocket] : [OpenAIRealtimeWS]) {
        const connection = new Connection({ intent: 'transcription' }, client(ASR_TLS_URL));
        await opened(connection);
        append(connection);
        heard = (await next(connection, 'conversation.item.input_audio_transcription.completed')).transcript;
        requireWords(heard);
        connection.close();
    }
    return heard;
}

// --- conversations ---

async function talking(fields) {
    const connection = new OpenAIRealtimeWS({ model: 'gpt-realtime' }, client(S2S_TLS_URL));
    await opened(connection);
    const updated = next(connection, 'session.updated');
    connection.send({ type: 'session.update', session: { type: 'realtime', ...fields } });
    await updated;
    return connection;
}

async function spokenTurn() {
    const transcription = { transcription: { model: 'whisper-1' } };
    const connection = await talking({ instructions: 'Give a short answer.', audio: { input: transcription } });
    let sound = 0;
    connection.on('response.output_audio.delta', (event) => (sound += event.delta.length));
    const heard = next(connection, 'conversation.item.input_audio_transcription.completed');
    const done = next(connection, 'response.done');
    append(connection);
    require((await done).response.status === 'completed' && sound > 10_000, `${sound} characters of sound`);
    connection.close();
    return requireWords((await heard).transcript);
}

const says = (text) => ({ type: 'message', role: 'user', content: [{ type: 'input_text', text }] });

async function textTurn() {
    const connection = await talking({ instructions: 'Give a short answer.', output_modalities: ['text'] });
    const said = next(connection, 'response.output_text.done');
    connection.send({ type: 'conversation.item.create', item: says('Hello there.') });
    connection.send({ type: 'response.create' });
    require((await said).text.includes('short answer'), 'another answer');
    connection.close();
}

async function toolCall() {
    const tool = { type: 'function', name: 'weather', description: 'in a city', parameters: { type: 'object', properties: {} } };
    const connection = await talking({ tools: [tool], output_modalities: ['text'] });
    const called = next(connection, 'response.function_call_arguments.done');
    const ended = next(connection, 'response.done');
    connection.send({ type: 'conversation.item.create', item: says('What is the weather?') });
    connection.send({ type: 'response.create' });
    const { call_id } = await called;
    await ended;
    const said = next(connection, 'response.output_text.done');
    connection.send({ type: 'conversation.item.create', item: { type: 'function_call_output', call_id, output: 'sunny' } });
    connection.send({ type: 'response.create' });
    require((await said).text.includes('sunny'), 'the answer knows nothing of the result');
    connection.close();
}

async function interruption() {
    const connection = await talking({});
    const sounding = next(connection, 'response.output_audio.delta');
    const ended = next(connection, 'response.done');
    append(connection);
    await sounding;
    append(connection);
    const { response } = await ended;
    require(response.status === 'cancelled' && response.status_details.reason === 'turn_detected', JSON.stringify(response));
    connection.close();
}

async function truncation() {
    const connection = await talking({ audio: { input: { turn_detection: null } } });
    const { item_id } = await (async () => {
        const sounding = next(connection, 'response.output_audio.delta');
        connection.send({ type: 'conversation.item.create', item: says('Count.') });
        connection.send({ type: 'response.create' });
        return sounding;
    })();
    const ended = next(connection, 'response.done');
    connection.send({ type: 'response.cancel' });
    await ended;
    const truncated = next(connection, 'conversation.item.truncated');
    connection.send({ type: 'conversation.item.truncate', item_id, content_index: 0, audio_end_ms: 40 });
    require((await truncated).audio_end_ms === 40, 'another length');
    connection.close();
}

await run('openai (JavaScript)', 'openai', {
    transcribe,
    speak,
    'speak streamed': speakStreamed,
    captions,
    'spoken turn': spokenTurn,
    'text turn': textTurn,
    'tool call': toolCall,
    interruption,
    truncation,
});
