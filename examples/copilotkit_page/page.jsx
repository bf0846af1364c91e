// A chat with the agent of a workflow, the files that it writes, and its questions.
import { CopilotChat, CopilotKit, HttpAgent, useAgent, useDefaultRenderTool, useInterrupt } from "@copilotkit/react-core/v2";
import "@copilotkit/react-core/v2/styles.css";
import { createRoot } from "react-dom/client";

// In the fragment, which browsers do not send: #url=…&token=…&workflow=…
const { url, token, workflow } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
const agent = new HttpAgent({
  url: `${url}/api/workflows/${workflow}/agui`,
  headers: { Authorization: `Bearer ${token}` },
});

function Files() {
  const { agent } = useAgent();
  const files = Object.entries(agent.state?.files ?? {});
  return (
    <ul aria-label="Files">
      {files.map(([path, file]) => (
        <li key={path}>{path} ({file.size_bytes} bytes)</li>
      ))}
    </ul>
  );
}

function Chat() {
  useDefaultRenderTool({
    render: ({ name, status }) => <p className="tool">{name}: {status}</p>,
  });
  useInterrupt({
    render: ({ interrupts, resolve, cancel }) =>
      interrupts.map(({ id, message, metadata }) => (
        <fieldset key={id}>
          <legend>{message}</legend>
          {metadata?.can_resume && <button onClick={() => resolve({ approved: true }, id)}>Approve</button>}
          {metadata?.can_resume && <button onClick={() => resolve({ approved: false }, id)}>Reject</button>}
          <button onClick={() => cancel(id)}>Cancel</button>
        </fieldset>
      )),
  });
  return <CopilotChat />;
}

createRoot(document.body.appendChild(document.createElement("main"))).render(
  <CopilotKit selfManagedAgents={{ default: agent }} enableInspector={false}>
    <Files />
    <Chat />
  </CopilotKit>,
);
